/* Optimisers: what the list says of each; steps of all but SGD worked out from the published
 * formulas, on native and the reference; and for every kind the same bits whatever the threads, the
 * instruction set and the fusion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <convoy/convoy.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ways.h"

/* ------------------------------------------------------------------------------------- the list */

static void list_is_sound(void **state)
{
    (void)state;
    const cvy_optimizer_info *info;
    int kind = 0;
    for (; (info = cvy_optimizer_describe((enum cvy_optimizer_kind)kind)); kind++) {
        enum cvy_optimizer_kind found;
        cvy_optimizer_desc usual;
        assert_true(cvy_optimizer_from_name(info->name, &found));
        assert_int_equal(found, kind);
        assert_in_range(info->n_states, 0, CVY_OPTIMIZER_STATES);
        cvy_optimizer_usual(found, &usual);
        for (size_t i = 0; i < info->n_hypers; i++) {
            const cvy_hyper_info *h = &info->hyper[i];
            assert_true(h->help && *h->help && h->least <= h->usual && h->usual <= h->most);
            assert_true(cvy_hyper_get(h, &usual) == h->usual);
            cvy_optimizer_desc desc = { .kind = found };
            assert_true(cvy_hyper_get(h, &desc) == (h->zero_is_usual ? h->usual : 0));
            for (double value = 0; value <= 1; value += h->flag ? 1 : 0.25) {
                cvy_hyper_set(h, &desc, value);
                assert_true(cvy_hyper_get(h, &desc) == value);
            }
        }
    }
    assert_int_equal(kind, CVY_OPTIMIZER_KINDS);
    enum cvy_optimizer_kind untouched = CVY_ADAM;
    assert_false(cvy_optimizer_from_name("SGD", &untouched));
    assert_false(cvy_optimizer_from_name(NULL, &untouched));
    assert_int_equal(untouched, CVY_ADAM);
}

/* ------------------------------------------------------------------------------------- by hand */

enum { OUT = 3, AT = 3, LAST = 7 };

/* One pixel x = 0.5 of class 1, logits w x + b from w = {0.5, -0.25, 0.125}, b = {0.125, 0, -0.5}.
 * The gradient is softmax - onehot for b, and x times that for w. Seven steps by the formulas at
 * cvy_optimizer_desc (tests/golden/make_optimizers.py): {w, b} after steps 1, 2 and 7, then the
 * states. (The first step of textbook's Adam is lr * g / (|g| + eps): 0.1 for all.) */
static const struct {
    cvy_optimizer_desc desc;
    double want[AT][2 * OUT];
    double state[AT][2 * OUT]; /* as many as there are */
} cases[] = {
    { { .kind = CVY_ADAM, .lr = 0.1 }, /* beta 0.9 and 0.999, eps 1e-8 */
      { { 0.400000004101, -0.15000000284, 0.0250000092407, 0.0250000020503, 0.0999999985799,
          -0.59999999538 },
        { 0.300377038809, -0.0503770362247, -0.0746229507104, -0.0746229653819, 0.199622966678,
          -0.699622960155 },
        { -0.176108327727, 0.426108338065, -0.551108288348, -0.551108343927, 0.676108349285,
          -1.17610832485 } },
      { { 0.0841946927587, -0.121555861765, 0.0373611690064, 0.168389385517, -0.24311172353,
          0.0747223380129 },
        { 0.000221339394103, 0.000461361229445, 4.35843117928e-05, 0.000885357576411,
          0.00184544491778, 0.000174337247171 } } },
    { { .kind = CVY_ADAM, .lr = 0.1, .eps = 0.01 },
      { { 0.403939033661, -0.15276177674, 0.0334590648097, 0.0270090861197, 0.098599776101,
          -0.595583677817 },
        { 0.308410675595, -0.0560002123016, -0.0574186853642, -0.0705272805808, 0.196778379546,
          -0.690647280011 },
        { -0.146088992226, 0.405628573284, -0.487503476104, -0.53615301535, 0.66627792107,
          -1.14358924955 } },
      { { 0.0850439415467, -0.123307986673, 0.0382640451259, 0.170087883093, -0.246615973345,
          0.0765280902518 },
        { 0.000224088721427, 0.000469856624837, 4.49806253483e-05, 0.000896354885708,
          0.00187942649935, 0.000179922501393 } } },
    { { .kind = CVY_ADAM, .lr = 0.1, .eps = 0.01, .epsilon_hat = true },
      { { 0.456459450478, -0.197317278317, 0.0995039767293, 0.0643334501412, 0.0690094086647,
          -0.540632400304 },
        { 0.405156272868, -0.13688374704, 0.0672838110763, -0.00343340642704, 0.144298045169,
          -0.589357736033 },
        { 0.116051117414, 0.196037718022, -0.132193444536, -0.366027191632, 0.540109266697,
          -0.872901940438 } },
      { { 0.0968659206165, -0.143672937266, 0.0468070166497, 0.193731841233, -0.287345874532,
          0.0936140332994 },
        { 0.000268768418112, 0.000583809460825, 6.04494245579e-05, 0.00107507367245,
          0.0023352378433, 0.000241797698232 } } },
    { { .kind = CVY_ADAM,
        .lr = 0.05,
        .beta1 = 0.8,
        .beta2 = 0.99,
        .eps = 0.001,
        .weight_decay = 0.25,
        .decay_all = true },
      { { 0.450135182861, -0.200120312114, 0.0753559570685, 0.0750961559277, 0.0499290952625,
          -0.549459066217 },
        { 0.400476839498, -0.150464711279, 0.0261901975302, 0.0254089323955, 0.0996563164657,
          -0.597671465933 },
        { 0.161589445626, 0.087537216344, -0.195729811822, -0.212794205844, 0.339003199596,
          -0.753899071317 } },
      { { 0.217495023887, -0.23897968602, 0.0590898771692, 0.299564351892, -0.416472997309,
          0.00973824365524 },
        { 0.00608294521798, 0.0074607636175, 0.000602304342849, 0.0117351284733, 0.0222458780546,
          0.000160037112569 } } },
    { { .kind = CVY_ADAMW,
        .lr = 0.05,
        .beta1 = 0.8,
        .beta2 = 0.99,
        .eps = 0.001,
        .weight_decay = 0.25 },
      { { 0.443954190502, -0.197016608661, 0.0738953067968, 0.0751023041466, 0.0499290952625,
          -0.549770043847 },
        { 0.388757281465, -0.144839872527, 0.0235741335059, 0.0253507884785, 0.0997152976385,
          -0.599399890518 },
        { 0.129483221245, 0.100000028826, -0.212458267588, -0.216812727098, 0.342155070659,
          -0.841226979072 } },
      { { 0.155397714948, -0.224988121837, 0.0695904068881, 0.310795429897, -0.449976243673,
          0.139180813776 },
        { 0.00294722170895, 0.00616787630587, 0.000587951288379, 0.0117888868358, 0.0246715052235,
          0.00235180515352 } } },
    { { .kind = CVY_ADAM, .lr = 0.1, .beta1 = DBL_MIN, .beta2 = 0.5 },
      { { 0.400000004101, -0.15000000284, 0.0250000092407, 0.0250000020503, 0.0999999985799,
          -0.59999999538 },
        { 0.303442223745, -0.0534422211302, -0.0715577660143, -0.0715577804147, 0.196557781751,
          -0.696557775388 },
        { -0.134658277588, 0.384658289051, -0.509658237254, -0.509658294812, 0.63465830098,
          -1.13465827607 } },
      { { 0.108169366076, -0.156169232848, 0.0479998667713, 0.216338732152, -0.312338465695,
          0.0959997335427 },
        { 0.0170534366479, 0.0355462912142, 0.00335802093438, 0.0682137465916, 0.142185164857,
          0.0134320837375 } } },
    { { .kind = CVY_ADAM,
        .lr = 0.1,
        .eps = 0.01,
        .weight_decay = 0.25,
        .momentum = 0.5,
        .nesterov = true },
      { { 0.353959148225, -0.103532855266, -0.0149642981672, -0.0219863708205, 0.147899664152,
          -0.643375516726 },
        { 0.18559275101, 0.0651289530055, -0.171831745049, -0.192244574811, 0.31930218903,
          -0.809279448231 },
        { -0.562241309877, 0.780955016077, -0.495181254085, -1.04551759292, 1.18195541569,
          -1.64211211602 } },
      { { 0.0536674536479, -0.0495149619911, -0.0127792068626, 0.120689859061, -0.176338203759,
          0.0556483446983 },
        { 0.000291607778125, 0.000358628507004, 5.60939350304e-05, 0.000622985991834,
          0.00131077494999, 0.000126514290125 },
        { 0.120137918659, -0.108285207963, -0.00490731842263, 0.159177040405, -0.161490997961,
          0.156011599152 } } },
    { { .kind = CVY_ADAMW,
        .lr = 0.05,
        .beta1 = 0.8,
        .beta2 = 0.99,
        .eps = 0.001,
        .weight_decay = 0.25,
        .momentum = 0.75 },
      { { 0.443954190502, -0.197016608661, 0.0738953067968, 0.0751023041466, 0.0499290952625,
          -0.549770043847 },
        { 0.351410424342, -0.107446079022, -0.0135825113965, -0.0120724834116, 0.137162119085,
          -0.636727423403 },
        { -0.359677131599, 0.589970838202, -0.699261560718, -0.719509573388, 0.84533119447,
          -1.34291021779 } },
      { { 0.116432114378, -0.168547134117, 0.0521150197392, 0.232864228756, -0.337094268235,
          0.104230039478 },
        { 0.00221839986489, 0.0046386639854, 0.000441335970662, 0.00887359945955, 0.0185546559416,
          0.00176534388265 },
        { 0.156170402859, -0.156500521894, 0.155525061817, 0.156554004638, -0.156766674742,
          0.156379955279 } } },
    { { .kind = CVY_RMSPROP, .lr = 0.05, .eps = 0.01 },
      { { 0.360035454581, -0.104916841263, 0.00264148198368, -0.0234866776605, 0.151318505319,
          -0.637957106168 },
        { 0.263900482642, -0.00563610001156, -0.0845959028708, -0.12426501063, 0.253961969561,
          -0.734077729615 },
        { -0.028385661237, 0.295625574878, -0.355915682797, -0.428581325638, 0.563870728768,
          -1.02889173923 } },
      { { 0.0145117377704, 0.030739992102, 0.0030105267674, 0.0580469510816, 0.122959968408,
          0.0120421070696 } } },
    { { .kind = CVY_RMSPROP,
        .lr = 0.05,
        .eps = 0.01,
        .weight_decay = 0.25,
        .decay_all = true,
        .momentum = 0.75,
        .nesterov = true,
        .rho = 0.5,
        .eps_inside = true },
      { { 0.3844570567, -0.132882701704, 0.0381111044844, 0.00560950321631, 0.121321178271,
          -0.567184971503 },
        { 0.257964377759, -0.00485189173653, -0.0567272919502, -0.123937344088, 0.253973848995,
          -0.633837391412 },
        { -0.285695349673, 0.537122827262, -0.328203172769, -0.638462049358, 0.868631475639,
          -0.622564558397 } },
      { { 0.00871521403498, 0.0104598028336, 0.000901935453362, 0.0139723528255, 0.0374897179492,
          0.00199589369352 },
        { 0.085188770886, -0.0831564821621, 0.026013435139, 0.0719003101001, -0.105091930312,
          -0.0320298656234 } } },
    { { .kind = CVY_ADAGRAD, .lr = 0.1, .eps = 0.01 },
      { { 0.403939033661, -0.15276177674, 0.0334590648097, 0.0270090861197, 0.098599776101,
          -0.595583677817 },
        { 0.338713213681, -0.0868870346314, -0.029612455141, -0.0391921939861, 0.165159595308,
          -0.660737452067 },
        { 0.142372484121, 0.111021468937, -0.221512432814, -0.237699431744, 0.364583864079,
          -0.857320633154 } },
      { { 0.275200868309, 0.575781157878, 0.0548532088929, 1.10080347324, 2.30312463151,
          0.219412835571 } } },
    { { .kind = CVY_ADAGRAD,
        .lr = 0.1,
        .eps = 0.01,
        .weight_decay = 0.25,
        .momentum = 0.5,
        .eps_inside = true },
      { { 0.403483827883, -0.152787907144, 0.0437318351003, 0.0270377941789, 0.0990066455812,
          -0.59077870174 },
        { 0.290826973158, -0.0398353771293, -0.0510024356788, -0.0883057580938, 0.215434740425,
          -0.700231727876 },
        { -0.067424796342, 0.30603631426, -0.256114875864, -0.489626188098, 0.621807156104,
          -1.09709201656 } },
      { { 0.409213128902, 0.488841088923, 0.039531552547, 0.874409793231, 1.85658233346,
          0.182822833337 },
        { 0.0434167208316, -0.0392180990391, 0.00519757940842, 0.0560023548105, -0.0570429482118,
          0.0572153060732 } } },
    { { .kind = CVY_ADADELTA, .lr = 1, .eps = 0.01 },
      { { 0.285895014064, 0.0266398990916, 0.0198191927183, -0.204625039131, 0.377514193647,
          -0.694817271722 },
        { 0.135808933329, 0.237758204094, -0.0649376850421, -0.450243678112, 0.679831957233,
          -0.855495046021 },
        { -0.157995581422, 0.692935366208, -0.260453419537, -0.952360978882, 1.35856634075,
          -1.23652498815 } },
      { { 0.00410228961407, 0.00937181418365, 0.00109044655282, 0.0164091584563, 0.0374872567346,
          0.00436178621129 },
        { 0.00341297872632, 0.00655835581447, 0.00105292295591, 0.00881342624194, 0.0132411970232,
          0.00378798514231 } } },
    { { .kind = CVY_ADADELTA,
        .lr = 0.5,
        .eps = 0.001,
        .weight_decay = 0.25,
        .momentum = 0.5,
        .nesterov = true,
        .rho = 0.8 },
      { { 0.44791534161, -0.197721920933, 0.0776991849735, 0.0725156861303, 0.0527676335621,
          -0.55041080297 },
        { 0.386174183507, -0.135852673912, 0.0235895501725, 0.00974629031715, 0.115936451133,
          -0.610636040732 },
        { 0.0854669398192, 0.15929552485, -0.181181620548, -0.31639487884, 0.446120892198,
          -0.92697002399 } },
      { { 0.0529485606837, 0.0633945450808, 0.00463857553304, 0.111054352753, 0.23506842016,
          0.0229849748708 },
        { 0.00288821580754, 0.0027766664572, 0.00139827893749, 0.00342488167842, 0.00351403461202,
          0.00323245945635 },
        { 0.0544941910347, -0.0525118438109, 0.0294382616838, 0.0620598797431, -0.0631024734106,
          0.060775885457 } } },
    { { .kind = CVY_ADAMW,
        .lr = 0.05,
        .beta1 = 0.8,
        .beta2 = 0.99,
        .eps = 0.001,
        .weight_decay = 0.25,
        .l1 = 0.125,
        .l2 = 0.25 },
      { { 0.443830662156, -0.19695790695, 0.0736060110893, 0.0751023041466, 0.0499290952625,
          -0.549770043847 },
        { 0.388568795497, -0.144812122428, 0.0232252394624, 0.025350830817, 0.0997151719528,
          -0.599399572512 },
        { 0.131246050776, 0.0824044948744, -0.0921121872505, -0.216751319578, 0.342244047072,
          -0.841644303099 } },
      { { 0.368967106197, -0.255913228648, 0.00763997746094, 0.310300487216, -0.451142962084,
          0.140842474868 },
        { 0.017327905112, 0.0132046632423, 0.00223409667645, 0.0117685232503, 0.0247364013509,
          0.00238142579908 } } },
    { { .kind = CVY_RMSPROP,
        .lr = 0.05,
        .eps = 0.01,
        .weight_decay = 0.25,
        .decay_all = true,
        .momentum = 0.5,
        .l1 = 0.125,
        .l2 = 0.0625 },
      { { 0.350389631904, -0.100185443478, -0.0170735462704, -0.0258804688912, 0.151318505319,
          -0.38104344462 },
        { 0.177019349366, 0.0745618964508, -0.0794040553825, -0.15919598, 0.310979584658,
          -0.275598489011 },
        { -0.146155510586, 0.285984008225, 0.0296101595633, -0.294353276305, 0.689287791779,
          -0.237641274518 } },
      { { 0.0429831438492, 0.0318838944045, 0.00467664919147, 0.0288337528536, 0.0470702361542,
          0.000622108676197 },
        { -0.0194544628691, 0.00633244933908, -0.0312732497673, -0.0206198288721, -0.0262509867359,
          -0.0120070619998 } } },
};

static void near(const char *what, size_t k, uint64_t step, const double *got, const double *want,
                 double tolerance)
{
    for (int i = 0; i < 2 * OUT; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * fmax(fabs(want[i]), 1e-3)))
            fail_msg("case %zu, %s %d after step %llu: %.12g, expected %.12g", k, what, i,
                     (unsigned long long)step, got[i], want[i]);
}

static void read_all(const cvy_trainer *t, int kind, double *out)
{
    const enum cvy_param_kind k = (enum cvy_param_kind)kind;
    assert_int_equal(cvy_trainer_get64(t, k, "fc.weight", out, OUT), CVY_OK);
    assert_int_equal(cvy_trainer_get64(t, k, "fc.bias", out + OUT, OUT), CVY_OK);
}

/* A descriptor of the same states and flags with other numbers. */
static cvy_optimizer_desc otherwise(const cvy_optimizer_desc *desc)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe(desc->kind);
    cvy_optimizer_desc other = *desc;
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        bool none = !strcmp(h->name, "momentum") && desc->momentum == 0;
        if (!h->flag && !none) cvy_hyper_set(h, &other, 0.375);
    }
    return other;
}

/* And the numbers meant, one by one. */
static void set_all(cvy_trainer *t, const cvy_optimizer_desc *desc)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe(desc->kind);
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        enum cvy_status want = h->flag ? CVY_E_ARG : CVY_OK;
        assert_int_equal(cvy_trainer_set_hyper(t, h->name, cvy_hyper_get(h, desc)), want);
    }
}

static void steps_by_hand(const char *backends, double tolerance, bool later)
{
    static const double w[OUT] = { 0.5, -0.25, 0.125 }, b[OUT] = { 0.125, 0, -0.5 };
    static const float pixel = 0.5f;
    static const uint8_t label = 1;
    static const uint64_t at[AT] = { 1, 2, LAST };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        cvy_context *ctx;
        cvy_net *net;
        cvy_trainer *t;
        double got[2 * OUT];
        const cvy_context_options options = { .threads = 1, .backends = backends };
        assert_int_equal(cvy_context_create(&options, &ctx), CVY_OK);
        assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
        cvy_tensor x = cvy_linear(net, cvy_input(net, 1, 1, 1), "fc",
                                  &(cvy_linear_desc){ .out_features = OUT });
        const cvy_trainer_options o = { .batch = 1,
                                        .optimizer =
                                            later ? otherwise(&cases[k].desc) : cases[k].desc };
        if (cvy_trainer_create(net, x, &o, &t)) fail_msg("%s", cvy_message(ctx));
        if (later) set_all(t, &cases[k].desc);
        const cvy_optimizer_info *info = cvy_optimizer_describe(cases[k].desc.kind);
        const size_t n = info->n_states - (cases[k].desc.momentum > 0 ? 0 : 1);
        for (size_t s = 0; s < n; s++) assert_string_equal(cvy_trainer_state(t, s), info->state[s]);
        assert_null(cvy_trainer_state(t, n));
        assert_int_equal(cvy_trainer_set64(t, CVY_PARAM_WEIGHT, "fc.weight", w, OUT), CVY_OK);
        assert_int_equal(cvy_trainer_set64(t, CVY_PARAM_WEIGHT, "fc.bias", b, OUT), CVY_OK);
        const cvy_batch batch = { .images = &pixel, .dtype = CVY_F32, .labels8 = &label, .n = 1 };
        for (uint64_t step = 1, i = 0; step <= LAST; step++) {
            assert_int_equal(cvy_trainer_step(t, &batch, NULL), CVY_OK);
            if (step != at[i]) continue;
            read_all(t, CVY_PARAM_WEIGHT, got);
            near("weight", k, step, got, cases[k].want[i++], tolerance);
        }
        for (size_t i = 0; i < n; i++) {
            read_all(t, CVY_PARAM_STATE + (int)i, got);
            near(info->state[i], k, LAST, got, cases[k].state[i], tolerance);
        }
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

static void native_by_hand(void **state)
{
    (void)state;
    steps_by_hand("native", 2e-5, false);
    steps_by_hand("native", 2e-5, true);
}
static void reference_by_hand(void **state)
{
    (void)state;
    steps_by_hand("reference", 1e-9, false);
    steps_by_hand("reference", 1e-9, true);
}

static void foreign_settings_are_refused(void **state)
{
    (void)state;
    static const struct {
        cvy_optimizer_desc desc;
        const char *says;
    } wrong[] = {
        { { .kind = CVY_ADAM, .rho = 0.9 }, "adam has no rho" },
        { { .kind = CVY_ADAMW, .nesterov = true }, "nesterov needs a momentum" },
        { { .kind = CVY_ADADELTA, .eps_inside = true }, "adadelta has no eps_inside" },
        { { .kind = CVY_ADAGRAD, .rho = 0.9 }, "adagrad has no rho" },
        { { .kind = CVY_RMSPROP, .rho = 1 }, "rho is 1, expected 0 to below 1" },
        { { .kind = CVY_SGD, .beta1 = 0.9 }, "sgd has no beta1" },
        { { .kind = CVY_ADAM, .beta1 = 1 }, "beta1 is 1, expected 0 to below 1" },
        { { .kind = CVY_ADAM, .beta2 = -0.5 }, "beta2 is -0.5, expected 0 to below 1" },
        { { .kind = CVY_ADAM, .eps = NAN }, "eps is nan, expected 0 or more" },
        { { .kind = CVY_ADAM, .lr = INFINITY }, "lr is inf, expected 0 or more" },
    };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &ctx), CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x =
        cvy_linear(net, cvy_input(net, 1, 1, 1), "fc", &(cvy_linear_desc){ .out_features = OUT });
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const cvy_trainer_options o = { .batch = 1, .optimizer = wrong[i].desc };
        assert_int_equal(cvy_trainer_create(net, x, &o, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says))
            fail_msg("'%s' does not say '%s'", cvy_message(ctx), wrong[i].says);
    }
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* -------------------------------------------------------------------------------- the same bits */

enum { BATCH = 20, SIDE = 9, STEPS = 4, MOST = 1 << 16 };

/* Weights and states after some steps; returns how many, 0: not here. */
static size_t train(const cvy_context_options *options, const cvy_optimizer_desc *desc, float *out)
{
    static uint8_t images[BATCH * SIDE * SIDE], labels[BATCH];
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    size_t n = 0;
    if (cvy_context_create(options, &ctx)) {
        cvy_context_destroy(&ctx);
        return 0;
    }
    uint32_t s = 1;
    for (size_t i = 0; i < sizeof images; i++)
        images[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i % 7);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "conv", &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { 3, 3 } });
    x = cvy_batch_norm(net, x, "bn", NULL);
    x = cvy_relu(net, x);
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 37 });
    x = cvy_linear(net, cvy_relu(net, x), "fc2", &(cvy_linear_desc){ .out_features = 7 });
    const cvy_trainer_options o = { .batch = BATCH, .optimizer = *desc, .init.seed = 2 };
    if (cvy_trainer_create(net, x, &o, &t)) fail_msg("%s", cvy_message(ctx));
    for (size_t i = 0; i < STEPS; i++) {
        const cvy_batch batch = {
            .images = images, .labels8 = labels, .dtype = CVY_U8, .n = BATCH - i
        };
        assert_int_equal(cvy_trainer_step(t, &batch, NULL), CVY_OK);
    }
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(t, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            assert_int_equal(cvy_trainer_param(t, (enum cvy_param_kind)kind, i, &info), CVY_OK);
            assert_true(n + info.count <= MOST);
            assert_int_equal(cvy_trainer_get(t, info.kind, info.name, out + n, info.count), CVY_OK);
            n += info.count;
        }
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return n;
}

static void the_same_bits(void **state)
{
    (void)state;
    static float want[MOST], got[MOST];
    cvy_context_options o = { .threads = 1 };
    for (int kind = 0; kind < CVY_OPTIMIZER_KINDS; kind++)
        for (int variant = 0; variant < 2; variant++) {
            const cvy_optimizer_info *info = cvy_optimizer_describe((enum cvy_optimizer_kind)kind);
            cvy_optimizer_desc desc;
            cvy_optimizer_usual((enum cvy_optimizer_kind)kind, &desc);
            /* the second: every setting at work */
            for (size_t i = 0; i < info->n_hypers && variant; i++)
                cvy_hyper_set(&info->hyper[i], &desc, info->hyper[i].flag ? 1 : 0.07);
            size_t n = train(&(cvy_context_options){ .threads = 1 }, &desc, want);
            assert_true(n > 0);
            for (size_t i = 0; i < n; i++) assert_true(isfinite(want[i]));
            for (size_t k = 0; some_way(k, &o); k++) {
                if (!train(&o, &desc, got)) continue; /* not this instruction set */
                for (size_t i = 0; i < n; i++)
                    if (memcmp(&want[i], &got[i], sizeof *got))
                        fail_msg("%s, variant %d, way %zu: number %zu is %.9g, expected %.9g",
                                 info->name, variant, k, i, (double)got[i], (double)want[i]);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_is_sound),     cmocka_unit_test(native_by_hand),
        cmocka_unit_test(reference_by_hand), cmocka_unit_test(foreign_settings_are_refused),
        cmocka_unit_test(the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
