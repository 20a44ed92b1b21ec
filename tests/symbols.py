#!/usr/bin/env python3
"""What the libraries export, import and contain. usage: symbols.py SOURCE_ROOT BUILD_ROOT

* libconvoy.so exports cvy_* and nothing else, and every function that the public headers declare.
* it imports nothing that prints, exits, or changes the process.
* every public function enters the library's floating-point state, or is known to move no floats.
* every operation of the vec headers is used by a template, or by another operation.
* each ISA's kernel objects export const tables only; baseline objects contain no AVX instruction.
"""
import glob
import os
import re
import subprocess
import sys

source, build = sys.argv[1:3]
errors = []


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


library = os.path.join(build, "src", "libconvoy.so")
if os.path.exists(library):
    exported = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    exported = {name for name in exported if not re.fullmatch(r"CVY_\d+", name)}  # the version node
    errors += [f"libconvoy.so exports {name}" for name in exported if not name.startswith("cvy_")]
    declared = set()
    for header in glob.glob(os.path.join(source, "include", "convoy", "*.h")):
        with open(header, encoding="utf-8") as f:
            declared |= set(re.findall(r"CVY_API[^;{]*?\b(cvy_\w+)\(", f.read()))
    errors += [f"{name} is declared but not exported" for name in declared - exported]
    errors += [f"{name} is exported but not declared" for name in exported - declared if name.startswith("cvy_")]
    forbidden = set("exit abort _exit quick_exit printf puts putchar perror vprintf fprintf vfprintf fwrite signal sigaction setenv putenv "
                    "unsetenv srand rand random system longjmp strtok setlocale fesetround fesetenv".split())
    imported = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--undefined-only", library).splitlines()}
    sanitized = any(name.startswith("__asan") for name in imported)
    errors += [f"libconvoy.so imports {name}" for name in imported & forbidden if not sanitized]

kernels = os.path.join(source, "src", "backends", "native", "kernels")
vec = "".join(open(f, encoding="utf-8").read() for f in sorted(glob.glob(os.path.join(kernels, "vec*.h"))))
used = vec + "".join(open(f, encoding="utf-8").read() for f in glob.glob(os.path.join(kernels, "*_tmpl.[ch]")))
defined = r"^V_FN [^\n(]*?\b%s\("
for name in sorted(set(re.findall(defined % r"(\w+)", vec, re.M))):
    if len(re.findall(rf"\b{name}\b", used)) == len(re.findall(defined % name, vec, re.M)):
        errors.append(f"{name} of the vec headers is used by nobody")

# Public functions that neither compute, compare nor convert floats, or leave it to one that enters the state.
NO_FLOATS = set("""cvy_version cvy_status_name cvy_isa_name cvy_isa_from_name cvy_algorithm_name cvy_algorithm_from_name cvy_init_name cvy_init_from_name cvy_loss_name cvy_loss_from_name cvy_optimizer_describe cvy_optimizer_from_name cvy_context_create cvy_context_destroy cvy_message
    cvy_context_threads cvy_context_threads_why cvy_context_isa cvy_context_backends cvy_context_available cvy_net_create
    cvy_net_destroy cvy_net_status cvy_input cvy_conv2d cvy_conv_transpose2d cvy_bias cvy_upsample cvy_mean_subtract cvy_tempered_softmax cvy_linear cvy_batch_norm cvy_group_norm cvy_whitening cvy_rank cvy_activation cvy_prelu cvy_sigmoid cvy_relu cvy_pool2d cvy_maxout
    cvy_global_avg_pool cvy_add cvy_multiply cvy_concat cvy_pad_channels cvy_dropout cvy_flatten cvy_softmax cvy_tensor_shape cvy_net_tensor cvy_net_nodes
    cvy_trainer_destroy cvy_trainer_gradient_norm cvy_trainer_steps cvy_trainer_set_steps cvy_predictor_destroy cvy_trainer_params cvy_trainer_param
    cvy_predictor_params cvy_predictor_param
    cvy_trainer_plan cvy_predictor_plan cvy_trainer_phases cvy_trainer_profile cvy_trainer_ops cvy_trainer_tensors
    cvy_trainer_tensor cvy_op_dst_shape cvy_op_workspace cvy_op_backend cvy_op_destroy cvy_op_phases cvy_op_profile""".split())
code = ""
for file in glob.glob(os.path.join(source, "src", "*", "*.c")):
    with open(file, encoding="utf-8") as f:
        code += f.read()
public = set()
for header in glob.glob(os.path.join(source, "include", "convoy", "*.h")):
    if not header.endswith("backend.h"):  # called by backends, from within
        with open(header, encoding="utf-8") as f:
            public |= set(re.findall(r"CVY_API[^;{]*?\b(cvy_\w+)\(", f.read()))
for name in public - NO_FLOATS:
    body = re.search(r"^[\w ]+[ *]" + name + r"\([^;{]*\)\n\{\n(.*?)^\}", code, re.S | re.M)
    if not body or "CVYI_OWN_FLOATS(" not in body.group(1):
        errors.append(f"{name} does not enter the library's floating-point state (CVYI_OWN_FLOATS), nor is it in NO_FLOATS")
errors += [f"{name} of NO_FLOATS is no public function" for name in NO_FLOATS - public]

for obj in glob.glob(os.path.join(build, "src", "**", "*.o"), recursive=True):
    template = re.search(r"/libk_(\w+?)\.a\.p/(\w+)_tmpl\.c\.o$", obj)
    if template:
        isa, family = template.groups()
        for line in run("nm", "--defined-only", "--extern-only", obj).splitlines():
            kind, name = line.split()[-2:]
            if name != f"cvyi_{family}_{isa}" or kind not in "RDV":
                errors.append(f"{obj}: exports {kind} {name}; an ISA object exports its const table only")
    elif "/libconvoy." in obj and "backends_onednn" not in obj:  # a module linked in asks the CPU by itself
        if re.search(r"%[yz]mm\d", run("objdump", "-d", "--no-show-raw-insn", obj)):
            errors.append(f"{obj}: baseline code uses wide registers")
for error in sorted(errors):
    print(error)
print(f"symbols: {len(errors)} errors")
sys.exit(bool(errors))
