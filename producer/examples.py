"""The examples below each command's help. A test runs every one of them."""

from __future__ import annotations

EXAMPLES = {
    "up": ("charrnn-jobs up", "charrnn-jobs up --devices cpu", "charrnn-jobs up --log-format json"),
    "train": (
        "charrnn-jobs train speeches speeches/ --wait",
        "charrnn-jobs train speeches speeches/ --units 256 --epochs 3 --max-minutes 60",
        "charrnn-jobs train speeches speeches/ new.txt --from speeches",
    ),
    "sample": (
        "charrnn-jobs sample",
        "charrnn-jobs sample speeches 'the ' 'a ' -n 3 -t 0.5,1.0 -l 100",
    ),
    "submit": (
        "charrnn-jobs submit speeches --seeds seeds.txt -t 0.5,1.0 -n 10 --wait -o texts.csv",
        "charrnn-jobs submit speeches --seed 'the ' --seed 'a ' -n 5",
        r"charrnn-jobs submit speeches@2 --random-seeds 100 --top-p 0.9 --stop '\n'",
        "charrnn-jobs submit speeches --seeds seeds.jsonl --rng-seed 7 --dry-run",
        "charrnn-jobs submit --after 12 --seeds seeds.txt",
    ),
    "wait": ("charrnn-jobs wait 12", "charrnn-jobs wait 12 --timeout 10m"),
    "results": (
        "charrnn-jobs results -o texts.jsonl",
        "charrnn-jobs results 12 --where temperature=0.5 --distinct -o texts.csv",
        "charrnn-jobs results 12 --follow -f jsonl",
    ),
    "schedules": ("charrnn-jobs schedules", "charrnn-jobs schedules --json"),
    "schedules add": (
        'charrnn-jobs schedules add nightly --cron "0 3 * * *" -- train speeches speeches/ --epochs 3',
        (
            "charrnn-jobs schedules add nightly --cron @daily --on-failure 'logger \"$RUN_REASON\"' "
            "-- train speeches speeches/"
        ),
        "charrnn-jobs schedules add nightly --cron @daily -- train speeches speeches/ --then submit -n 100",
        'charrnn-jobs schedules add weekly --cron "0 8 * * mon" -- submit speeches --seeds seeds.txt -n 100',
    ),
    "schedules edit": (
        'charrnn-jobs schedules edit nightly --cron "30 2 * * *" --timezone Europe/Paris',
        "charrnn-jobs schedules edit nightly -- submit speeches --seeds seeds.txt -n 10",
    ),
    "schedules show": ("charrnn-jobs schedules show nightly", "charrnn-jobs schedules show nightly --json"),
    "schedules check": ("charrnn-jobs schedules check", "charrnn-jobs schedules check nightly --late 1h"),
    "schedules allow": ("charrnn-jobs schedules allow nightly",),
    "schedules pause": ("charrnn-jobs schedules pause nightly",),
    "schedules resume": ("charrnn-jobs schedules resume nightly",),
    "schedules run": ("charrnn-jobs schedules run nightly",),
    "schedules remove": ("charrnn-jobs schedules remove nightly",),
    "status": ("charrnn-jobs status", "charrnn-jobs status 12 --json"),
    "jobs": (
        "charrnn-jobs jobs --state running",
        "charrnn-jobs jobs --schedule nightly",
        "charrnn-jobs jobs --user ada@desk",
        "charrnn-jobs jobs --model speeches --limit 100 --json",
    ),
    "events": ("charrnn-jobs events", "charrnn-jobs events 12 --json"),
    "models": ("charrnn-jobs models", "charrnn-jobs models --json"),
    "models show": ("charrnn-jobs models show speeches", "charrnn-jobs models show speeches@2 --json"),
    "models compare": ("charrnn-jobs models compare speeches@1 speeches@2 -n 5",),
    "models promote": (
        "charrnn-jobs models promote speeches@2",
        "charrnn-jobs models promote speeches@2 --alias staging",
    ),
    "models default": ("charrnn-jobs models default speeches", "charrnn-jobs models default --unset"),
    "models rollback": ("charrnn-jobs models rollback speeches",),
    "models delete": (
        "charrnn-jobs models delete speeches@3",
        "charrnn-jobs models delete speeches --keep 5",
        "charrnn-jobs models delete copy --all --yes",
    ),
    "models export": ("charrnn-jobs models export speeches -o speeches.zip",),
    "models import": (
        "charrnn-jobs models import speeches.zip",
        "charrnn-jobs models import speeches.zip --as copy",
    ),
    "web": ("charrnn-jobs web --open", "charrnn-jobs web --allow-writes"),
    "report": ("charrnn-jobs report -o report.html", "charrnn-jobs report 12 -o report.html"),
    "doctor": ("charrnn-jobs doctor", "charrnn-jobs doctor --json"),
    "config": ("charrnn-jobs config", "charrnn-jobs config --json"),
    "cancel": ("charrnn-jobs cancel 12",),
    "retry": ("charrnn-jobs retry 12",),
    "delete": ("charrnn-jobs delete 12",),
    "prune": ("charrnn-jobs prune --older-than 30d --dry-run", "charrnn-jobs prune --older-than 12h"),
    "store": ("charrnn-jobs store check",),
    "store upgrade": ("charrnn-jobs store upgrade",),
    "store check": ("charrnn-jobs store check", "charrnn-jobs store check --json"),
    "store recover": ("charrnn-jobs store recover",),
    "worker": ("charrnn-jobs worker --devices cpu", "charrnn-jobs worker --check-health"),
    "scheduler": ("charrnn-jobs scheduler", "charrnn-jobs scheduler --log-format json --metrics 127.0.0.1:9464"),
}
