#!/usr/bin/env python3
"""Installs into a temporary directory and builds a C and a C++ program against it through pkg-config, shared and static.

usage: install_test.py SOURCE_ROOT BUILD_ROOT
"""
import os
import subprocess
import sys
import tempfile

source, build = sys.argv[1:3]
PROGRAM = r"""
#include <convoy/convoy.h>
#include <convoy/backend.h>
#include <stdio.h>
int main(void)
{
    cvy_context *ctx = NULL;
    static cvy_context_options options;
    options.threads = 1;
    if (cvy_context_create(&options, &ctx)) return 1;
    cvy_net *net = NULL;
    if (cvy_net_create(ctx, &net)) return 2;
    static cvy_linear_desc fc;
    fc.out_features = 3;
    cvy_tensor y = cvy_linear(net, cvy_input(net, 1, 2, 2), "fc", &fc);
    cvy_predictor *p = NULL;
    if (cvy_predictor_create(net, y, 1, NULL, NULL, &p)) { puts(cvy_message(ctx)); return 3; }
    float x[4] = { 1, 2, 3, 4 }, w[12] = { 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1 }, out[3];
    if (cvy_predictor_set(p, CVY_PARAM_WEIGHT, "fc.weight", w, 12)) { puts(cvy_message(ctx)); return 4; }
    float zero[3] = { 0, 0, 0 };
    if (cvy_predictor_set(p, CVY_PARAM_WEIGHT, "fc.bias", zero, 3)) return 5;
    static cvy_batch batch;
    batch.images = x;
    batch.dtype = CVY_F32;
    batch.n = 1;
    if (cvy_predictor_run(p, &batch, out)) { puts(cvy_message(ctx)); return 6; }
    cvy_predictor_destroy(&p);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    printf("%g %g %g\n", out[0], out[1], out[2]);
    return !(out[0] == 1 && out[1] == 2 && out[2] == 10);
}
"""


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


with tempfile.TemporaryDirectory() as root:
    run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root])
    pc = next(os.path.join(d, "convoy.pc") for d, _, files in os.walk(root) if "convoy.pc" in files)
    env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc), PKG_CONFIG_SYSROOT_DIR=root)
    libdir = os.path.dirname(os.path.dirname(pc))
    for variable, suffix in (("CC", "c"), ("CXX", "cc")):
        compiler = os.environ.get(variable, "cc" if suffix == "c" else "c++").split()
        file = os.path.join(root, "consumer." + suffix)
        with open(file, "w", encoding="utf-8") as f:
            f.write(PROGRAM)
        for static in (False, True):
            flags = run(["pkg-config", "--cflags", "--libs", "convoy"] + (["--static"] if static else []), env=env).split()
            if static:
                flags = [os.path.join(libdir, "libconvoy.a") if f == "-lconvoy" else f for f in flags]
            exe = os.path.join(root, f"consumer-{suffix}-{static}")
            run(compiler + ["-Wall", "-Wextra", "-Werror", file, "-o", exe] + flags)
            print(*compiler, "static" if static else "shared", run([exe], env=dict(env, LD_LIBRARY_PATH=libdir)).strip())
        for header in ("convoy", "version", "types", "context", "net", "train", "op", "backend"):
            with open(file, "w", encoding="utf-8") as f:
                f.write(f"#include <convoy/{header}.h>\nint main(void) {{ return 0; }}\n")
            run(compiler + ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", file, "-I", os.path.join(root, "usr/local/include")])
print("install: ok")
