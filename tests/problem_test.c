/* Problems in benchdnn's notation: what they mean, what is missing in them, what is wrong with
 * them, and where; and what there is to do in them. */
#include "problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct problem one(const char *text)
{
    struct problem_list list = { 0 };
    char error[300] = "";
    if (!problem_read("test", text, 0, &list, error, sizeof error)) fail_msg("%s", error);
    assert_int_equal(list.n, 1);
    struct problem p = list.at[0];
    free(list.at);
    return p;
}

static void same_shape(cvy_shape s, size_t n, size_t c, size_t h, size_t w)
{
    if (s.n != n || s.c != c || s.h != h || s.w != w)
        fail_msg("got %zux%zux%zux%zu, want %zux%zux%zux%zu", s.n, s.c, s.h, s.w, n, c, h, w);
}

static void same_pad(const size_t pad[4], size_t top, size_t left, size_t bottom, size_t right)
{
    if (pad[0] != top || pad[1] != left || pad[2] != bottom || pad[3] != right)
        fail_msg("got %zu %zu %zu %zu, want %zu %zu %zu %zu", pad[0], pad[1], pad[2], pad[3], top,
                 left, bottom, right);
}

static void convolutions(void **state)
{
    (void)state;
    struct problem p = one("mb256ic6ih14oc16oh10kh5");
    same_shape(p.src, 256, 6, 14, 14);
    same_shape(p.dst, 256, 16, 10, 10);
    assert_int_equal(p.passes,
                     1 << CVY_FORWARD | 1 << CVY_BACKWARD_DATA | 1 << CVY_BACKWARD_WEIGHTS);
    same_pad(p.conv.pad, 0, 0, 0, 0);
    /* Everything said, and a name; the shape that a log has. */
    p = one("--conv g1_mb8_ic64ih56iw28_oc128oh28ow14_kh3kw3_sh2sw2_ph1pw1_dh0dw0_n\"layer2\"");
    same_shape(p.src, 8, 64, 56, 28);
    same_shape(p.dst, 8, 128, 28, 14);
    same_pad(p.conv.pad, 1, 1, 0, 0); /* the last row and column are not needed */
    assert_string_equal(p.name, "layer2");
    /* Padding from the output, output from the padding, dilation, groups, one dimension only, no
     * mb. */
    p = one("ic3ih224oc64oh112kh7sh2");
    same_pad(p.conv.pad, 2, 2, 3, 3);
    same_shape(p.src, 2, 3, 224, 224);
    p = one("g8ic16ih20oc32kh3dh1ph2");
    same_shape(p.dst, 2, 32, 20, 20);
    assert_int_equal(p.conv.groups, 8);
    assert_int_equal(p.conv.dilation[0], 2);
    p = one("ic4iw9ih5oc4kh1kw3ph0pw1");
    same_shape(p.dst, 2, 4, 5, 9);
    p = one("--conv --mb=32 --dir=BWD_W,FWD_I mb1ic4ih4oc4kh1");
    assert_int_equal(p.src.n, 32);
    assert_int_equal(p.passes, 1 << CVY_FORWARD_INFER | 1 << CVY_BACKWARD_WEIGHTS);
    p = one("--conv --dir=BWD_DW --cfg=f32 --stag=any id1ic4ih4oc4kd1kh1");
    assert_int_equal(p.passes, 1 << CVY_BACKWARD_DATA | 1 << CVY_BACKWARD_WEIGHTS);
}

static void others(void **state)
{
    (void)state;
    struct problem p = one("--ip mb256ic16ih4oc120");
    same_shape(p.src, 256, 16, 4, 4);
    same_shape(p.dst, 256, 120, 1, 1);
    assert_int_equal(p.conv.kernel[0] * p.conv.kernel[1], 16);
    p = one("--bnorm mb256ic84");
    same_shape(p.src, 256, 84, 1, 1);
    p = one("--pool --alg=avg_np mb2ic64_ih8oh1_kh8sh8_n\"pool\"");
    same_shape(p.dst, 2, 64, 1, 1);
    assert_true(p.pool.kind == CVY_POOL_AVG && p.pool.exclude_pad);
    p = one("--pool ic64ih112oh56kh3sh2ph1");
    same_pad(p.pool.pad, 1, 1, 0, 0);
    p = one("--eltwise --alg=RELU --alpha=0.1 2x3x4x5");
    assert_int_equal(p.act.kind, CVY_LEAKY_RELU);
    p = one("--eltwise --alg=logistic 256x6x24x24_nsigmoid1");
    assert_string_equal(p.name, "sigmoid1");
}

static void more(void **state)
{
    (void)state;
    struct problem p = one("--binary --alg=add 2x3x4x5:2x3x4x5_n\"add\"");
    same_shape(p.src, 2, 3, 4, 5);
    assert_string_equal(p.name, "add");
    assert_false(p.multiply);
    p = one("--binary --alg=mul 2x3x4x5:2x3x4x5");
    assert_true(p.multiply);
    p = one("--concat 2x3x4x5:2x7x4x5:2x1x4x5_n\"joined\"");
    same_shape(p.dst, 2, 11, 4, 5);
    assert_int_equal(p.n_parts, 3);
    assert_int_equal(p.part[1].c, 7);
    assert_int_equal(p.passes, 1 << CVY_FORWARD | 1 << CVY_BACKWARD_DATA);
    assert_string_equal(p.name, "joined");
    p = one("--dropout --p=0.25 4x5");
    assert_true(p.p == 0.25);
    p = one("--loss 256x10");
    assert_int_equal(p.passes, 1 << CVY_FORWARD);
    /* A file: comments, options that stay, a driver that ends them, another batch. */
    struct problem_list list = { 0 };
    char error[300];
    assert_true(problem_read(
        "file",
        "# LeNet\n--eltwise --alg=tanh 4x5 6x7 # two\n\n  --eltwise 8x9\r\n--conv ic1ih5oc1kh3\n",
        16, &list, error, sizeof error));
    assert_int_equal(list.n, 4);
    assert_int_equal(list.at[1].act.kind, CVY_TANH);
    assert_int_equal(list.at[2].act.kind, CVY_RELU);
    for (size_t i = 0; i < 4; i++) assert_int_equal(list.at[i].src.n, 16);
    free(list.at);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } wrong[] = {
        { "mb256icih28oc6kh5",
          "test: line 1, column 8: expected a number behind 'ic', found 'ih28oc6kh5'" },
        { "--conv ic1ih28oc6", "test: line 1, column 8: expected kh, the kernel's size, in the "
                               "problem, found 'ic1ih28oc6'" },
        { "ic1oc6kh5", "expected ih, the input's size" },
        { "ih28oc6kh5", "expected ic, the input's channels, of at least 1" },
        { "ic1ih28oc6kh5xx3", "column 14: expected one of g mb ic" },
        { "ic1ic2ih28oc6kh5", "column 4: expected 'ic' only once" },
        { "ic1ih28oc6oh23kh5sh5", "expected an oh that this input, kernel and stride can give" },
        { "ic1ih4oc6kh5", "expected a kernel that fits into the padded input" },
        { "ic1ih28oc6kh5sh0", "expected sizes and strides of at least 1" },
        { "g3ic4ih8oc4kh1", "expected a g that divides ic and oc" },
        { "ic99999999999999999999ih8oc4kh1", "column 3: expected a number up to" },
        { "ic4id2ih8oc4kh1", "expected two dimensions (id1)" },
        { "ic4ih8oc4kh1n\"open", "expected a closing quote" },
        { "mb0ic4ih8oc4kh1", "expected a batch (mb) of at least 1" },
        { "\n\n--konv ic4ih8oc4kh1", "line 3, column 1: expected a driver" },
        { "--conv --dir=FWD ic4ih8oc4kh1", "column 14: expected FWD_D" },
        { "--conv --cfg=bf16 ic4ih8oc4kh1", "column 14: expected f32" },
        { "--conv --alg=WINO ic4ih8oc4kh1", "--alg=wino: expected one of --conv's, direct" },
        { "--pool --alg=median ic4ih8kh2", "--alg=median: expected one of --pool's" },
        { "--pool ic4ih8kh2dh1", "expected a pooling window without holes" },
        { "--eltwise --alg=gelu 4x4", "--alg=gelu" },
        { "--eltwise 4", "expected dimensions as AxB" },
        { "--eltwise 4x0", "expected dimensions of at least 1" },
        { "--eltwise 1x2x3x4x5", "expected at most four dimensions" },
        { "--eltwise 4x4z", "expected nothing but n\"NAME\"" },
        { "--binary 4x4", "expected a ':'" },
        { "--concat 2x3x4:2x3x5", "differ in the second" },
        { "--concat --axis=2 2x3x4:2x3x5", "expected 1, the channels" },
        { "--binary 4x4:4x5", "expected operands of the same dimensions" },
        { "--dropout --p=2 4x4", "expected a number from 0 to 1" },
        { "--loss 4x4x2", "expected images and classes as NxC" },
        { "--bnorm ih4", "expected ic, the channels" },
        { "--eltwise --dir=BWD_W 4x4", "expected a --dir that eltwise has" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct problem_list list = { 0 };
        char error[300] = "";
        if (problem_read("test", wrong[i].text, 0, &list, error, sizeof error))
            fail_msg("'%s' was accepted", wrong[i].text);
        if (!strstr(error, wrong[i].wanted))
            fail_msg("'%s': got '%s', want '%s'", wrong[i].text, error, wrong[i].wanted);
        free(list.at);
    }
}

/* Any beginning of a good text, and any with one character changed, is read or refused: no crash,
 * no hang. */
static void mutilated(void **state)
{
    (void)state;
    static const char good[] =
        "--conv --dir=FWD_B,BWD_W g2mb8_ic6ih14_oc16oh10_kh5sh1ph0dh0_n\"x\" --binary "
        "2x3x4x5:2x3x4x5 --pool --alg=max ic4ih8kh2";
    for (size_t n = 0; n <= sizeof good; n++)
        for (unsigned c = 1; c < 128; c += n < sizeof good - 1 ? 1 : 128) {
            char text[sizeof good], error[300];
            struct problem_list list = { 0 };
            memcpy(text, good, sizeof good);
            if (n < sizeof good - 1) text[n] = (char)c;
            problem_read("test", text, 0, &list, error, sizeof error);
            free(list.at);
            list = (struct problem_list){ 0 };
            memcpy(text, good, sizeof good);
            text[n < sizeof good ? n : 0] = '\0';
            problem_read("test", text, 0, &list, error, sizeof error);
            free(list.at);
        }
}

static void logs(void **state)
{
    (void)state;
    static const char text[] =
        "training on cpu\n"
        "onednn_verbose,info,oneDNN v2.6.3 (commit N/A)\n"
        "onednn_verbose,info,prim_template:operation,engine,primitive,implementation,prop_kind,"
        "memory_descriptors,"
        "attributes,auxiliary,problem_desc,exec_time\n"
        "onednn_verbose,create:cache_miss,cpu,convolution,jit:avx2,forward_training,src_f32::"
        "blocked:abcd:f0,,alg:"
        "convolution_direct,mb2_ic1oc6_ih28oh24kh5sh1dh0ph0_iw28ow24kw5sw1dw0pw0,0.5\n"
        "onednn_verbose,exec,cpu,convolution,jit:avx2,forward_training,src_f32::blocked:abcd:f0 "
        "wei_f32::blocked:Abcd8a:f0,,alg:convolution_direct,mb256_ic1oc6_ih28oh24kh5sh1dh0ph0_"
        "iw28ow24kw5sw1dw0pw0,0."
        "412\n"
        "onednn_verbose,exec,cpu,convolution,jit:avx2,backward_weights,src_f32::blocked:abcd:f0,,"
        "alg:convolution_"
        "direct,mb256_ic1oc6_ih28oh24kh5sh1dh0ph0_iw28ow24kw5sw1dw0pw0,0.9\n"
        "onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd:f0 "
        "dst_f32::blocked:aBcd8b:f0,,,256x6x24x24,0.1\n"
        "onednn_verbose,exec,cpu,batch_normalization,bnorm_jit:avx2,forward_training,data_f32::"
        "blocked:aBcd8b:f0 "
        "diff_undef::undef::f0,,flags:CH,mb256ic6ih24iw24,0.7\n"
        "onednn_verbose,exec,cpu,pooling_v2,jit:avx2,forward_training,src_f32::blocked:aBcd8b:f0,,"
        "alg:pooling_max,"
        "mb256ic6_ih24oh12kh2sh2dh0ph0_iw24ow12kw2sw2dw0pw0,0.2\n"
        "onednn_verbose,v1,primitive,exec,cpu,eltwise,jit:avx512_core,backward_data,data:f32::"
        "blocked:abcd::f0,,alg:"
        "eltwise_logistic alpha:0 beta:0,256x6x24x24,0.1\n"
        "onednn_verbose,v1,primitive,exec,cpu,inner_product,gemm:jit,forward_training,src:f32::"
        "blocked:abcd::f0,,,"
        "mb256ic16ih4iw4oc120,0.1\r\n"
        "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx512_core_bf16,forward_training,"
        "src:bf16::blocked:acdb:"
        ":f0,,alg:convolution_direct,mb1_ic3oc64_ih224oh112kh7sh2dh0ph3_iw224ow112kw7sw2dw0pw3,2."
        "1\n"
        "onednn_verbose,v1,primitive,exec,cpu,binary,jit:uni,undef,src_f32::blocked:abcd::f0,,alg:"
        "binary_add,2x3x4x5:"
        "2x3x4x5,0.1\n"
        "onednn_verbose,exec,cpu";
    struct problem_list list = { 0 };
    size_t skipped = 0;
    char error[300];
    assert_true(problem_read_verbose("log", text, 0, &list, &skipped, error, sizeof error));
    assert_int_equal(skipped, 2); /* the reorder and the bf16 one */
    assert_int_equal(list.n, 6);
    assert_int_equal(list.at[0].passes, 1 << CVY_FORWARD | 1 << CVY_BACKWARD_WEIGHTS);
    same_shape(list.at[0].dst, 256, 6, 24, 24);
    assert_int_equal(list.at[1].kind, PROBLEM_BNORM);
    assert_int_equal(list.at[2].pool.kernel[0], 2);
    assert_int_equal(list.at[3].act.kind, CVY_SIGMOID);
    assert_int_equal(list.at[3].passes, 1 << CVY_BACKWARD_DATA);
    same_shape(list.at[4].src, 256, 16, 4, 4);
    assert_int_equal(list.at[5].kind, PROBLEM_BINARY);
    free(list.at);
}

/* What each operator and pass has to do, from numbers written here once more. */
static void work(void **state)
{
    (void)state;
    enum {
        F = CVY_FORWARD,
        I = CVY_FORWARD_INFER,
        D = CVY_BACKWARD_DATA,
        W = CVY_BACKWARD_WEIGHTS
    };
    static const struct {
        const char *text;
        int pass;
        double flops, floats;
    } known[] = {
        /* 2 images, 4 of 6 input channels in 2 groups, 3x3: 2*8*5*7 outputs, 27 multiply-adds
         * each */
        { "g2mb2_ic6ih5iw7_oc8oh5ow7_kh3kw3ph1pw1", F, 2. * 2 * 8 * 5 * 7 * 27,
          2 * 6 * 35 + 2 * 8 * 35 + 8 * 27 },
        { "g2mb2_ic6ih5iw7_oc8oh5ow7_kh3kw3ph1pw1", I, 2. * 2 * 8 * 5 * 7 * 27,
          2 * 6 * 35 + 2 * 8 * 35 + 8 * 27 },
        { "g2mb2_ic6ih5iw7_oc8oh5ow7_kh3kw3ph1pw1", D, 2. * 2 * 8 * 5 * 7 * 27,
          2 * 6 * 35 + 2 * 8 * 35 + 8 * 27 },
        { "g2mb2_ic6ih5iw7_oc8oh5ow7_kh3kw3ph1pw1", W, 2. * 2 * 8 * 5 * 7 * 27,
          2 * 6 * 35 + 2 * 8 * 35 + 8 * 27 },
        { "mb3_ic5ih9iw8_oc4oh4ow7_kh3kw2sh2sw1ph0pw0", W, 2. * 3 * 4 * 4 * 7 * 5 * 6,
          3 * 5 * 72 + 3 * 4 * 28 + 4 * 30 },
        { "g16mb1ic16ih20oc16oh20kh3dh1ph2", D, 2. * 16 * 400 * 9, 16 * 400 + 16 * 400 + 16 * 9 },
        { "--ip mb7ic3ih4iw5oc11", F, 2. * 7 * 11 * 60, 7 * 60 + 7 * 11 + 11 * 60 },
        { "--ip mb7ic3ih4iw5oc11", W, 2. * 7 * 11 * 60, 7 * 60 + 7 * 11 + 11 * 60 },
        { "--bnorm mb2ic3ih4iw5", F, 6 * 120, 2 * 120 },
        { "--bnorm mb2ic3ih4iw5", I, 2 * 120, 2 * 120 },
        { "--bnorm mb2ic3ih4iw5", D, 10 * 120, 3 * 120 },
        { "--eltwise --alg=relu 2x3x4x5", F, 120, 240 },
        { "--eltwise --alg=relu 2x3x4x5", D, 120, 360 },
        { "--eltwise --alg=logistic 2x3x4x5", F, 360, 240 },
        { "--eltwise --alg=elu 2x3x4x5", D, 360, 360 },
        { "--pool --alg=max mb2ic3ih8iw6oh4ow3kh2kw2sh2sw2", F, 2 * 3 * 12 * 4, 2 * 3 * (48 + 12) },
        { "--pool --alg=max mb2ic3ih8iw6oh4ow3kh2kw2sh2sw2", D, 2 * 3 * 12 * 4,
          2 * 3 * (48 + 48 + 12) },
        { "--pool --alg=avg_np mb2ic3ih8iw6oh7ow2kh2kw3sh1sw3", D, 2 * 3 * 14 * 6,
          2 * 3 * (48 + 14) },
        { "--softmax 4x10", I, 160, 80 },
        { "--binary --alg=add 2x3x4x5:2x3x4x5", F, 120, 360 },
        { "--concat 2x3x4x5:2x7x4x5", F, 0, 2 * 400 },
        { "--concat 2x3x4x5:2x7x4x5", D, 0, 2 * 400 },
        { "--dropout 4x5", D, 20, 40 },
        { "--loss 4x10", F, 240, 80 },
    };
    unsigned kinds = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct problem p = one(known[i].text);
        const struct problem_work w = problem_work(&p, (enum cvy_pass)known[i].pass);
        kinds |= 1u << p.kind;
        if (w.flops != known[i].flops || w.bytes != 4 * known[i].floats)
            fail_msg("%s, pass %d: %g operations, %g bytes; expected %g, %g", known[i].text,
                     known[i].pass, w.flops, w.bytes, known[i].flops, 4 * known[i].floats);
    }
    assert_int_equal(kinds, (1u << (PROBLEM_LOSS + 1)) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(convolutions), cmocka_unit_test(others),
                                        cmocka_unit_test(more),         cmocka_unit_test(mistakes),
                                        cmocka_unit_test(mutilated),    cmocka_unit_test(logs),
                                        cmocka_unit_test(work) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
