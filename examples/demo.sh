#!/bin/sh
# The whole path from a text to generated texts: start the local stack, train a small model on 17,000 first names,
# generate new names at three temperatures, and read the results. `make demo` runs it, with charrnn-jobs on PATH and
# CHARRNN_HOME set to ./.demo.
set -eu

here=$(dirname "$0")
text="$CHARRNN_HOME/names.txt"
log="$CHARRNN_HOME/up.log"

show() {
    printf '\n$'
    for word; do
        case $word in
            *\\*) printf " '%s'" "$word" ;; # a shell would read \n as n
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

mkdir -p "$CHARRNN_HOME"
python "$here/names.py" >"$text"
echo "text: $(wc -l <"$text") first names, one per line, in $text"

echo "\$ charrnn-jobs up --devices cpu &        (log: $log)"
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

if charrnn-jobs models -q | grep -q '^names@'; then
    echo "the model of the last demo exists, so training is skipped (make clean removes it)"
else
    show charrnn-jobs train names "$text" --size small --epochs 8 --preview-temperature 0.7 --rng-seed 1 --wait
fi
show charrnn-jobs models
show charrnn-jobs submit -m names --seeds "$here/seeds.txt" -t 0.4,0.7,1.0 -n 20 -l 30 --rng-seed 2 --wait

job=$(charrnn-jobs jobs -q --limit 1)
show charrnn-jobs status "$job"
show charrnn-jobs results "$job" -o "$CHARRNN_HOME/results.jsonl"
show charrnn-jobs results "$job" --distinct --where temperature=0.7 -o "$CHARRNN_HOME/names.csv"

echo
echo "Generated at temperature 0.7, and not among the 17,000 names:"
python - "$text" "$CHARRNN_HOME/results.jsonl" <<'END'
import json, sys, textwrap
known = set(open(sys.argv[1]).read().splitlines())
rows = [json.loads(line) for line in open(sys.argv[2])]
names = [row["seed"] + row["text"] for row in rows if row["temperature"] == 0.7]
new = [name for name in dict.fromkeys(names) if name not in known]
print(textwrap.fill(", ".join(new[:: len(new) // 50 + 1]), 80))
print(f"{len(new)} of {len(set(names))} distinct names are new")
END

cat <<END

All files of this demo are in $CHARRNN_HOME. To continue with them: export CHARRNN_HOME=$CHARRNN_HOME
To train on your own text:

  . .venv/bin/activate
  charrnn-jobs up                                   # in one terminal: broker and worker
  charrnn-jobs train speeches FOLDER --wait         # in another: a folder of .txt files
  charrnn-jobs submit -m speeches --seeds seeds.txt -t 0.2,0.5,1.0 -n 10 --wait
  charrnn-jobs results JOB -o texts.jsonl
END
