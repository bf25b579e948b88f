#!/usr/bin/env bash
#
# Instructions a call, ours beside the peers', counted by callgrind: the difference between N and 2N
# calls, over N. Prints Markdown. Words given as arguments choose rows by their keys.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly CALLS=2000

main() {
    if ! valgrind --version >/dev/null 2>&1; then
        echo "skipped: instruction counts (valgrind is not installed)"
        exit 0
    fi
    cargo build --quiet --release --bin instructions
    local program scratch row contender
    program=$(built)
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory is known now
    trap "rm -rf '$scratch'" EXIT

    while IFS=$'\t' read -r row contender; do
        wanted "$row" "$@" || continue
        printf '%s\t%s\t%s\n' "$row" "$contender" "$(per_call "$program" "$row" "$contender")"
    done < <("$program") >"$scratch/counts"
    echo "Instructions a call."
    echo
    "$program" --report <"$scratch/counts"
}

built() {
    local target
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    echo "$target/release/instructions"
}

wanted() {
    local row=$1 word
    shift
    (($# == 0)) && return 0
    for word in "$@"; do [[ $row == *"$word"* ]] && return 0; done
    return 1
}

per_call() {
    local once twice
    once=$(count "$@" "$CALLS")
    twice=$(count "$@" $((2 * CALLS)))
    awk "BEGIN { printf \"%.1f\", ($twice - $once) / $CALLS }"
}

# callgrind says `Collected : 123456` at the end.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        --collect-atstart=no --toggle-collect='instructions::counted*' "$@" 2>&1 |
        awk '/Collected/ { print $NF }'
}

main "$@"
