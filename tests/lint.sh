#!/bin/sh
# lint.sh: static checks of one C file, with its compiler flags. usage: lint.sh FILE FLAG...
set -eu
file=$1
shift
bad=0
# The line that counts suppressed warnings is no finding.
clang-tidy-14 --quiet "$file" -- "$@" 2>/dev/null || bad=1
# varFuncNullUB: it takes NULL for an int. Where our C compiles it is a pointer, and gcc checks the ends of lists (sentinel).
cppcheck --quiet --enable=warning,portability --inline-suppr --error-exitcode=1 --std=c11 -Isdk/include -Isdk/src -Isdk \
    --suppress=missingIncludeSystem --suppress=varFuncNullUB "$file" || bad=1
case $file in sdk/src/base/* | sdk/src/rpc/*)
    gcc "$@" -fanalyzer -Werror -c "$file" -o /dev/null || bad=1 ;;
esac
exit $bad
