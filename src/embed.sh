#!/bin/bash
# Writes an assembler file that puts files into the binary, with the index that src/embed.h declares.
# usage: embed.sh LIST >embed.S, where each line of LIST is: embedded path, tab, file. Files are given relative to the
# folder in which the assembler runs; they do not show in the object, so that every clone gives the same one.
set -euo pipefail
export LC_ALL=C

sort "$1" | awk -F '\t' '
    BEGIN { print "    .section .rodata.embed, \"a\"" }
    {
        printf "path%d:\n    .asciz \"%s\"\n    .balign 16\ndata%d:\n    .incbin \"%s\"\nend%d:\n    .byte 0\n", NR, $1, NR, $2, NR
    }
    END {
        print "    .section .data.rel.ro.embed, \"aw\"\n    .balign 8"
        print "    .globl embed_files, embed_count\nembed_files:"
        for (i = 1; i <= NR; i++)
            printf "    .quad path%d, data%d, end%d - data%d\n", i, i, i, i
        printf "embed_count:\n    .quad %d\n", NR
        print "    .section .note.GNU-stack, \"\", @progbits"
    }'
