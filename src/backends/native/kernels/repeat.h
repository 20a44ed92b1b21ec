/* Repetition for the register tiles: RA(n, M, ...) writes M(0, ...) M(1, ...) … M(n-1, ...); RB is
 * the same again, for nesting (RB inside RA or the other way round). Accumulators must be named
 * variables: as elements of an array, compilers keep them on the stack (measured: 20 to 65 %). */
#ifndef CVYI_REPEAT_H
#define CVYI_REPEAT_H

#define RA(n, M, ...) RA_##n(M, __VA_ARGS__)
#define RA_1(M, ...) M(0, __VA_ARGS__)
#define RA_2(M, ...) RA_1(M, __VA_ARGS__) M(1, __VA_ARGS__)
#define RA_3(M, ...) RA_2(M, __VA_ARGS__) M(2, __VA_ARGS__)
#define RA_4(M, ...) RA_3(M, __VA_ARGS__) M(3, __VA_ARGS__)
#define RA_5(M, ...) RA_4(M, __VA_ARGS__) M(4, __VA_ARGS__)
#define RA_6(M, ...) RA_5(M, __VA_ARGS__) M(5, __VA_ARGS__)
#define RA_7(M, ...) RA_6(M, __VA_ARGS__) M(6, __VA_ARGS__)
#define RA_8(M, ...) RA_7(M, __VA_ARGS__) M(7, __VA_ARGS__)
#define RA_9(M, ...) RA_8(M, __VA_ARGS__) M(8, __VA_ARGS__)
#define RA_10(M, ...) RA_9(M, __VA_ARGS__) M(9, __VA_ARGS__)
#define RA_11(M, ...) RA_10(M, __VA_ARGS__) M(10, __VA_ARGS__)
#define RA_12(M, ...) RA_11(M, __VA_ARGS__) M(11, __VA_ARGS__)
#define RA_13(M, ...) RA_12(M, __VA_ARGS__) M(12, __VA_ARGS__)
#define RA_14(M, ...) RA_13(M, __VA_ARGS__) M(13, __VA_ARGS__)
#define RA_15(M, ...) RA_14(M, __VA_ARGS__) M(14, __VA_ARGS__)
#define RA_16(M, ...) RA_15(M, __VA_ARGS__) M(15, __VA_ARGS__)

#define RB(n, M, ...) RB_##n(M, __VA_ARGS__)
#define RB_1(M, ...) M(0, __VA_ARGS__)
#define RB_2(M, ...) RB_1(M, __VA_ARGS__) M(1, __VA_ARGS__)
#define RB_3(M, ...) RB_2(M, __VA_ARGS__) M(2, __VA_ARGS__)
#define RB_4(M, ...) RB_3(M, __VA_ARGS__) M(3, __VA_ARGS__)
#define RB_5(M, ...) RB_4(M, __VA_ARGS__) M(4, __VA_ARGS__)
#define RB_6(M, ...) RB_5(M, __VA_ARGS__) M(5, __VA_ARGS__)
#define RB_7(M, ...) RB_6(M, __VA_ARGS__) M(6, __VA_ARGS__)
#define RB_8(M, ...) RB_7(M, __VA_ARGS__) M(7, __VA_ARGS__)
#define RB_9(M, ...) RB_8(M, __VA_ARGS__) M(8, __VA_ARGS__)
#define RB_10(M, ...) RB_9(M, __VA_ARGS__) M(9, __VA_ARGS__)
#define RB_11(M, ...) RB_10(M, __VA_ARGS__) M(10, __VA_ARGS__)
#define RB_12(M, ...) RB_11(M, __VA_ARGS__) M(11, __VA_ARGS__)

/* DOWN(n, M, ...): M(1, ...) … M(n, ...), for the smaller instances of a tile. */
#define DOWN(n, M, ...) DOWN_(n, M, __VA_ARGS__)
#define DOWN_(n, M, ...) DOWN_##n(M, __VA_ARGS__)
#define DOWN_1(M, ...) M(1, __VA_ARGS__)
#define DOWN_2(M, ...) DOWN_1(M, __VA_ARGS__) M(2, __VA_ARGS__)
#define DOWN_3(M, ...) DOWN_2(M, __VA_ARGS__) M(3, __VA_ARGS__)
#define DOWN_4(M, ...) DOWN_3(M, __VA_ARGS__) M(4, __VA_ARGS__)
#define DOWN_5(M, ...) DOWN_4(M, __VA_ARGS__) M(5, __VA_ARGS__)
#define DOWN_6(M, ...) DOWN_5(M, __VA_ARGS__) M(6, __VA_ARGS__)
#define DOWN_7(M, ...) DOWN_6(M, __VA_ARGS__) M(7, __VA_ARGS__)
#define DOWN_8(M, ...) DOWN_7(M, __VA_ARGS__) M(8, __VA_ARGS__)
#define DOWN_9(M, ...) DOWN_8(M, __VA_ARGS__) M(9, __VA_ARGS__)
#define DOWN_10(M, ...) DOWN_9(M, __VA_ARGS__) M(10, __VA_ARGS__)
#define DOWN_11(M, ...) DOWN_10(M, __VA_ARGS__) M(11, __VA_ARGS__)
#define DOWN_12(M, ...) DOWN_11(M, __VA_ARGS__) M(12, __VA_ARGS__)
#define DOWN_13(M, ...) DOWN_12(M, __VA_ARGS__) M(13, __VA_ARGS__)
#define DOWN_14(M, ...) DOWN_13(M, __VA_ARGS__) M(14, __VA_ARGS__)

/* ROWS is DOWN again, for nesting. */
#define ROWS(n, M, ...) ROWS_(n, M, __VA_ARGS__)
#define ROWS_(n, M, ...) ROWS_##n(M, __VA_ARGS__)
#define ROWS_1(M, ...) M(1, __VA_ARGS__)
#define ROWS_2(M, ...) ROWS_1(M, __VA_ARGS__) M(2, __VA_ARGS__)
#define ROWS_3(M, ...) ROWS_2(M, __VA_ARGS__) M(3, __VA_ARGS__)
#define ROWS_4(M, ...) ROWS_3(M, __VA_ARGS__) M(4, __VA_ARGS__)
#define ROWS_5(M, ...) ROWS_4(M, __VA_ARGS__) M(5, __VA_ARGS__)
#define ROWS_6(M, ...) ROWS_5(M, __VA_ARGS__) M(6, __VA_ARGS__)

#endif
