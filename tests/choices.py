#!/usr/bin/env python3
"""No number bends a plan unseen. usage: choices.py SOURCE_ROOT [BUILD_ROOT]

Every constant that a file of the native backend defines must stand in a function that answers by native_chose (or be
called through one), so that tests/choices_test.c sees both of its sides; the others are listed here, each with the reason
why it is no threshold. A constant or a choice that nobody uses any more is an error as well.
"""
import os
import re
import sys

NO_THRESHOLD = {
    "BAND_PIXELS": "how small bands become; BANDS and SLOT_BANDS ask",
    "BAND_CHANNELS": "how ranges of channels are rounded; SLOT_PARTS asks whether there are several",
    "OUTER_FLOATS": "how ranges of input channels are rounded; OUTER_RANGES asks whether there are several",
    "SHARED_PIXELS": "how boxes are cut into calls; STRIP_ROWS asks",
    "TAP_PIXELS": "how boxes of one tap are cut into calls, every net with padding has several",
    "ACCOUNT": "room for a sentence",
    "BIAS_PIXELS": "how the sum of a bias is cut into calls; its bound is in sum_bounds.c, on both sides",
    "OUTER_PIXELS": "is_outer() answers; OUTER asks it",
    "REGION_BYTES": "how regions are cut; REGIONS and NARROW ask",
    "REGION_PIXELS": "how small regions become; REGIONS and NARROW ask",
    "WGRAD_TASKS": "how ranges of channels are cut; SLOT_PARTS and OWNED_SMALL ask",
    "OWNED_FLOATS": "how ranges of channels are cut; OWNED_SMALL asks",
    "PANEL_BYTES": "how large a panel is",
    "PANEL_LEAST": "how large a panel is",
    "PANEL_MOST": "how large a panel is",
    "RANGE": "how ranges of channels are cut; REGION_SLOTS asks",
    "REGION_TASKS": "how weights and regions are cut; REGION_SLOTS asks",
    "LAID_LEAST": "cvyi_native_wgrad_by_regions() answers; BY_REGIONS asks it, tests/choices_test.c has both sides",
    "OTHER_LEAST": "likewise",
    "LAID_MOST": "how ranges of channels are cut; REGION_SLOTS asks",
    "SUM_FLOATS": "how ranges of channels are cut; BY_REGIONS asks about taps, REGION_SLOTS about the rest",
    "LAY_AHEAD": "what is fetched early, and no result",
    "ASK_AHEAD": "what is fetched early, and no result",
    "LAY": "what a cut costs; REGION_SLOTS asks",
    "SLOT": "what a cut costs; REGION_SLOTS asks",
    "TILE_START": "which tile multiplies; sums do not depend on it",
    "TILE_CHAINS": "likewise",
    "HELD_CHANNELS": "how many sums wait at a time; TRANSFORMED_HELD asks whether all do",
    "PACKED_ROWS": "how rows are shared out; UPDATE_TASKS asks",
    "COLUMNS": "what panels cost; PANELS asks",
    "NEAR_BYTES": "what panels cost; PANELS asks",
    "FAR": "what panels cost; PANELS asks",
    "FAR_TAPS": "what panels cost; PANELS asks",
    "SPARSE": "what panels cost; PANELS asks",
    "PANEL_TAPS": "how many taps panels leave to others",
    "GATHER": "what panels cost; PANELS asks",
    "GATHER_TAPS": "what panels cost; PANELS asks",
    "MOST_PRODUCTS": "how many products depthwise leaves to others for data; DEPTHWISE asks",
    "REGION_BYTES": "how many tiles are transformed together",
    "REGION_LEAST": "how many tiles are transformed together",
    "REGION_MOST": "how many tiles are transformed together",
    "REGION": "how many tiles are transformed together",
    "BAND": "how weights are cut; TRANSFORMED_SLOTS asks",
    "BAND_BYTES": "how many rows a band has; ROW_BANDS asks",
    "BAND_ROWS": "how many rows a band has; ROW_BANDS asks",
    "BAND_TILES": "how many rows a band has; ROW_BANDS asks",
    "ROW_REGION": "how many rows are transformed together",
    "MOST_TAPS": "how high a kernel by rows may be; TRANSFORMED asks",
    "PART": "how channels are cut; TRANSFORMED_PARTS asks",
    "MADE_PART": "how channels are cut; TRANSFORMED_PARTS asks",
    "MADE_CHUNK": "how channels are cut; TRANSFORMED_MADE asks",
    "TO_POINTS": "what transforming costs; TRANSFORMED asks",
    "TO_RESULTS": "what transforming costs; TRANSFORMED asks",
    "PRODUCT": "what transforming costs; TRANSFORMED asks",
    "PRODUCT_OF_3": "what transforming costs; TRANSFORMED asks",
    "PRODUCT_OF_5": "what transforming costs; TRANSFORMED asks",
    "PRODUCT_DW": "what transforming costs; TRANSFORMED asks",
    "REFRESH": "what transforming costs; TRANSFORMED asks",
    "SIDE_O": "how weights are cut; TRANSFORMED_SLOTS asks",
    "SIDE_I": "how weights are cut; TRANSFORMED_SLOTS asks",
    "TASKS": "how weights are cut; TRANSFORMED_SLOTS asks",
    "TALL_CHANNELS": "how many inputs a task has; TALL asks",
    "TALL_OUTPUTS": "how few outputs are few; TALL asks, tests/choices_test.c has both sides",
    "NATIVE_CELL": "how small cells become; no sum depends on it, and large_planes of choices_test.c has more cells",
    "NATIVE_WIDE": "what a wide map is; WIDE and BN_WIDE ask",
    "INTERIOR": "has_interior() answers; INTERIOR asks it",
    "HELD_FLOATS": "how long a whitening's segments are; WHITEN_SEGMENTS asks",
    "MOST_PIXELS": "how long a whitening's segments are; WHITEN_SEGMENTS asks",
    "TRIANGLE_ROWS": "how products are cut into calls; every group of more channels has several",
    "FEW_CHANNELS": "has_interior() answers; INTERIOR asks it, for a map of each size",
}

source = os.path.abspath(sys.argv[1])
folder = os.path.join(source, "src/backends/native")
text, home = "", {}
for name in sorted(os.listdir(folder)):
    if not name.endswith((".c", ".h")):
        continue
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        body = f.read()
    for constant in re.findall(r"^#define ([A-Z][A-Z_0-9]*)\s+\(?\(?(?:size_t\)|\d)", body, re.M):
        home.setdefault(constant, name)
    text += body

asked = ""  # the arguments of every native_chose
for start in (m.end() for m in re.finditer(r"native_chose\(", text)):
    depth, end = 1, start
    while depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    asked += text[start:end] + "\n"

errors = []
for constant, name in sorted(home.items()):
    used = bool(re.search(rf"\b{constant}\b", asked))
    if used and constant in NO_THRESHOLD:
        errors.append(f"{constant} is asked about: take it out of NO_THRESHOLD")
    if not used and constant not in NO_THRESHOLD:
        errors.append(f"{name}: {constant} decides something that no native_chose asks; ask it, or say in "
                      "tests/choices.py why it is no threshold")
errors += [f"NO_THRESHOLD: there is no {c}" for c in NO_THRESHOLD if c not in home]
for choice in re.findall(r"^    X\((\w+),", text, re.M):
    if not re.search(rf"\bCHOICE_{choice}\b", asked):
        errors.append(f"{choice} is a choice that nobody makes")
for e in errors:
    print(e)
sys.exit(1 if errors else 0)
