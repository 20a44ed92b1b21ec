#!/usr/bin/env python3
"""AVX-512 on a machine without it: boots a Linux kernel in Bochs with kernel checks and a short training run as its init.

usage: bochs.py BUILD_ROOT VMLINUZ [MINUTES]    (at most 20 minutes by default; installs nothing, says what is missing)

VMLINUZ is a kernel of Debian 12; docs/testing.md says how to get one without installing it. The training run's weights must
be those of the same run on this machine, on whatever table it chooses. Exit code 0: all passed.
"""
import gzip
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

TESTS = ["kernel_check_mac", "kernel_check_rows"]
TRAIN = ["train", "lenet-bn", "--data=synthetic:train=128,test=16", "--batch=32", "--epochs=1", "--threads=1"]
TOOLS = ["sh", "mount", "grep", "tail", "sha256sum", "sleep"]  # what the guest needs beside them
FILES = {  # where Debian's packages put what Bochs boots with
    "/usr/share/bochs/BIOS-bochs-latest": "bochsbios", "/usr/share/vgabios/vgabios-banshee.bin": "vgabios",
    "/usr/lib/ISOLINUX/isolinux.bin": "isolinux", "/usr/lib/syslinux/modules/bios/ldlinux.c32": "syslinux-common",
}

# Serial port 1 is the console. Without clearcpuid Linux 6.1 finds the CPU's XSAVE area inconsistent and turns AVX off.
ISOLINUX = """SERIAL 0 115200
DEFAULT l
PROMPT 0
TIMEOUT 1
LABEL l
 KERNEL vmlinuz
 INITRD initrd.gz
 APPEND console=ttyS0,115200 quiet panic=-1 mitigations=off tsc=reliable clearcpuid=xsaves,xsavec,xgetbv1
"""
BOCHSRC = """megs: 512
cpu: model=corei7_skylake_x, count=1, ips=100000000
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios-banshee.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=b.iso, status=inserted
boot: cdrom
display_library: rfb, options="timeout=0"
com1: enabled=1, mode=file, dev=serial.txt
sound: waveoutdrv=dummy
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
clock: sync=none, time0=local
"""


def libraries(program):
    """The program's shared objects, its loader among them."""
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", listed)


def initramfs(files):
    """An archive in cpio's newc format: path -> bytes; None is a directory, a pair of numbers a character device."""
    archive = bytearray()
    for inode, (path, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o40755 if data is None else 0o20600 if isinstance(data, tuple) else 0o100755
        major, minor = data if isinstance(data, tuple) else (0, 0)
        content = data if isinstance(data, bytes) else b""
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(path) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % f for f in fields) + path.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return gzip.compress(bytes(archive), 6)


def same_run_here(convoy):
    """The numbers of the training run's checkpoint: their size, and their hash. The header before them holds times."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([convoy, *TRAIN, f"--out={out}/run"], check=True, stdout=subprocess.DEVNULL)
        with open(f"{out}/run/checkpoint.safetensors", "rb") as f:
            f.seek(int.from_bytes(f.read(8), "little"), os.SEEK_CUR)
            numbers = f.read()
    return len(numbers), hashlib.sha256(numbers).hexdigest()


def guest(programs, init):
    """The guest's files: the programs in /bin, their libraries where they are here, and what is run first."""
    files = {"dev": None, "dev/console": (5, 1), "dev/null": (1, 3), "proc": None, "tmp": None, "bin": None,
             "init": "\n".join(init + [""]).encode()}
    for program in programs:
        for path in [program, *libraries(program)]:
            inside = "bin/" + os.path.basename(path) if path == program else path.lstrip("/")
            parents = inside.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                files.setdefault("/".join(parents[:depth]), None)
            with open(path, "rb") as f:
                files[inside] = f.read()
    return initramfs(files)


def boot(kernel, initrd, minutes):
    """What the guest printed until it turned itself off."""
    with tempfile.TemporaryDirectory() as work:
        iso = os.path.join(work, "iso", "isolinux")
        os.makedirs(iso)
        for path in [path for path in FILES if "linux" in path]:
            shutil.copy(path, iso)
        shutil.copy(kernel, os.path.join(iso, "vmlinuz"))
        # Debian's Bochs is built with its debugger, which waits for the command to continue.
        for name, data in (("iso/isolinux/initrd.gz", initrd), ("iso/isolinux/isolinux.cfg", ISOLINUX.encode()),
                           ("bochsrc", BOCHSRC.encode()), ("commands", b"c\n"), ("serial.txt", b"")):
            with open(os.path.join(work, name), "wb") as f:
                f.write(data)
        subprocess.run("genisoimage -quiet -o b.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot"
                       " -boot-load-size 4 -boot-info-table iso".split(), cwd=work, check=True)
        try:
            subprocess.run("nice -n 19 bochs -q -f bochsrc -rc commands".split(), cwd=work, timeout=60 * minutes,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            print(f"stopped after {minutes:g} minutes")
        with open(os.path.join(work, "serial.txt"), encoding="utf-8", errors="replace") as f:
            return f.read().replace("\r", "")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    build, kernel = sys.argv[1:3]
    missing = [package for path, package in FILES.items() if not os.path.exists(path)]
    missing += [program for program in ("bochs", "genisoimage") if not shutil.which(program)]
    if missing:
        sys.exit("missing packages: " + " ".join(missing))

    convoy = os.path.join(build, "src", "convoy")
    size, digest = same_run_here(convoy)
    programs = [shutil.which(tool) for tool in TOOLS] + [convoy] + [os.path.join(build, "tests", test) for test in TESTS]
    init = ["#!/bin/sh", "export PATH=/bin", "mount -t proc proc /proc", "grep -m1 -o 'avx512f.*' /proc/cpuinfo"]
    init += [f"{test}; echo {test} ended with $?" for test in TESTS]
    init += ["convoy " + " ".join(TRAIN) + " --isa=avx512 --out=/run", "echo training ended with $?",
             f"tail -c {size} /run/checkpoint.safetensors | sha256sum", "sleep 1", "echo o > /proc/sysrq-trigger", "sleep 60"]
    serial = boot(kernel, guest(programs, init), float(sys.argv[3]) if len(sys.argv) == 4 else 20)
    print(serial)
    print(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime / 60:.1f} minutes of CPU time")
    wanted = ["avx512f", *(f"{test} ended with 0" for test in TESTS), "training ended with 0", digest]
    absent = [line for line in wanted if line not in serial]
    print("not seen: " + "; ".join(absent) if absent else "passed: the checks, and the same weights as here")
    sys.exit(1 if absent else 0)


main()
