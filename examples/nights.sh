#!/bin/sh
# Five nights of a schedule: the text grows each night. On the third night an export went wrong and wrote garbage.
# Needs a running `charrnn-jobs up`, and CHARRNN_HOME set as there. Nights do not wait for their hour here:
# `schedules run` submits the job that the schedule would submit at that hour.
set -eu

texts="$CHARRNN_HOME/nights"

show() {
    echo
    echo "\$ $*"
    "$@"
}

# Write the text that one night adds: a fifth of the first 400,000 characters of Python's language reference.
part() {
    python -c 'import sys
from pydoc_data.topics import topics
text = "\n".join(topics[name] for name in sorted(topics))[:400_000]
night = int(sys.argv[1])
print(text[(night - 1) * len(text) // 5 : night * len(text) // 5])' "$1" >"$texts/night-$1.txt"
}

garbage() {
    for file in "$texts"/*.txt; do
        head -c 60000 /dev/urandom | base64 >"$file"
    done
}

night() {
    echo
    echo "night $1: $(cat "$texts"/*.txt | wc -c) bytes in $(ls "$texts" | wc -l) files"
    charrnn-jobs wait "$(charrnn-jobs schedules run nightly)" 2>/dev/null
}

mkdir "$texts"
part 1
show charrnn-jobs schedules add nightly --cron "0 3 * * *" --timezone Europe/Paris -- \
    train reference "$texts" --units 64 --epochs 2 --rng-seed 1
night 1
part 2
night 2
garbage
night 3
for each in 1 2 3; do part "$each"; done
night 4
part 4
night 5

show charrnn-jobs schedules show nightly
show charrnn-jobs models
