#!/bin/sh
# The whole path from a text to samples: start the local stack, train a small model on the language
# reference that ships with every Python, sample from seeds at three temperatures, and read the results.
# `make demo` runs it, with charrnn-jobs on PATH and CHARRNN_HOME set to ./.demo.
set -eu

here=$(dirname "$0")
text="$CHARRNN_HOME/topics.txt"
log="$CHARRNN_HOME/up.log"

show() {
    echo
    echo "\$ $*"
    "$@"
}

mkdir -p "$CHARRNN_HOME"
python -c 'from pydoc_data.topics import topics
print("\n".join(topics[name] for name in sorted(topics)))' >"$text"
echo "text: $(wc -c <"$text") bytes of Python's language reference, in $text"

echo "\$ charrnn-jobs up --devices cpu &        (its log: $log)"
charrnn-jobs up --devices cpu >"$log" 2>&1 &
up=$!
trap 'kill "$up" 2>/dev/null && wait "$up" || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

tries=0
until charrnn-jobs doctor --json 2>/dev/null | grep -q '"name": "worker '; do
    tries=$((tries + 1))
    if [ "$tries" -gt 120 ] || ! kill -0 "$up" 2>/dev/null; then
        cat "$log" >&2
        exit 1
    fi
    sleep 0.5
done

if charrnn-jobs models --json | grep -q '"model": "topics"'; then
    echo "the model of the last demo is there: training is skipped (make clean forgets it)"
else
    show charrnn-jobs train topics "$text" --units 256 --epochs 2 --rng-seed 1 --wait
fi
show charrnn-jobs models
show charrnn-jobs submit -m topics --seeds "$here/seeds.txt" -t 0.2,0.5,1.0 -n 4 -l 200 --wait

job=$(charrnn-jobs jobs --json --limit 1 | sed -n 's/^ *"id": \([0-9]*\),$/\1/p' | head -n 1)
show charrnn-jobs status "$job"
show charrnn-jobs results "$job" -o "$CHARRNN_HOME/results.jsonl"
show charrnn-jobs results "$job" --limit 12

cat <<END

Everything of this demo is in $CHARRNN_HOME (export CHARRNN_HOME to go on with it).
With your own text:

  . .venv/bin/activate
  charrnn-jobs up                                   # in one terminal: broker and worker
  charrnn-jobs train speeches FOLDER --wait         # in another: a folder of .txt files
  charrnn-jobs submit -m speeches --seeds seeds.txt -t 0.2,0.5,1.0 -n 10 --wait
  charrnn-jobs results JOB -o texts.jsonl
END
