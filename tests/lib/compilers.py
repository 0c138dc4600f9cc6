"""compilers: what C and C++ compilers say to generated code."""
import os
import shutil
import subprocess

from checks import check
from processes import ROOT

STRICT = """-Wall -Wextra -Wno-unused-parameter -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wimplicit-fallthrough -Wformat=2 -Werror""".split()


def compile_c(name, folder, levels=("-O0", "-O2"), skip=()):
    """Checks that the .c files of folder, but those in skip, compile silently, and that its headers are C++ as well."""
    include = ["-I", os.path.join(ROOT, "sdk/include"), "-I", folder]
    files = sorted(os.listdir(folder))
    sources = [os.path.join(folder, f) for f in files if f.endswith(".c") and f not in skip]
    for cc in [c for c in ("gcc", "clang", "clang-14") if sources and shutil.which(c)]:
        for level in levels:
            command = ["nice", cc, "-std=c11", level, *STRICT, *include, "-c"]
            run = subprocess.run(command + sources, cwd=os.path.dirname(folder), capture_output=True, text=True)
            check(f"{name}: {cc} {level} is silent", run.returncode == 0 and not run.stderr, run.stderr[-2000:])
    if shutil.which("g++"):
        source = os.path.join(folder + ".cpp")
        with open(source, "w") as f:
            f.writelines(f'#include "{h}"\n' for h in files if h.endswith(".h"))
        run = subprocess.run(["nice", "g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", *include, "-fsyntax-only", source],
                             capture_output=True, text=True)
        check(f"{name}: the headers are C++ too, and get along", run.returncode == 0, run.stderr[-2000:])
