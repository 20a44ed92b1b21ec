/* The register tiles of instruction sets with sixteen floats a register: AVX-512, and the pair that
 * stands in for it in tests, which so runs what AVX-512 runs. */
#ifndef CVYI_TILES16_H
#define CVYI_TILES16_H

/* mo x np of the mac tiles (np counts registers, V_PARTS a pixel) and their percent; mo x mi of
 * wgrad, one for each mo from 1; oc x i of outer. */
#define V_MAC_TILES(T) T(8, 3, 99) T(12, 2, 98) T(6, 4, 98) T(4, 6, 98) T(16, 1, 95) T(1, 8, 70)
#define V_WGRAD_TILES(T) T(1, 12) T(2, 12) T(3, 8) T(4, 6)
#define V_OUTER_O 2
#define V_OUTER_I 12

#endif
