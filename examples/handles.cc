// The library from C++: handles that destroy themselves, statuses that become exceptions.
//
// The headers are C and have extern "C" guards; what differs is how descriptors are filled. C's
//     cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 10 });
// is no C++: the address of a temporary cannot be taken, and designated initialisers came with
// C++20 only, in the order of the members and without the nested form (.sgd.lr = 1). What every C++
// has is an object of zeros whose fields are set:
//     cvy_linear_desc fc = {};  fc.out_features = 10;
#include <convoy/convoy.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

namespace
{

// Owns one handle. `destroy` takes its address and allows NULL, as every cvy_*_destroy does.
template <typename T, void (*destroy)(T **)> class Handle
{
  public:
    Handle() = default;
    ~Handle() { destroy(&handle_); }
    Handle(const Handle &) = delete;
    Handle &operator=(const Handle &) = delete;
    operator T *() const { return handle_; }
    T **out() { return &handle_; } // for the function that makes it, once

  private:
    T *handle_ = nullptr;
};

using Context = Handle<cvy_context, cvy_context_destroy>;
using Net = Handle<cvy_net, cvy_net_destroy>;
using Trainer = Handle<cvy_trainer, cvy_trainer_destroy>;
using Predictor = Handle<cvy_predictor, cvy_predictor_destroy>;

// Members are destroyed in reverse order, so whoever uses another stands behind it: predictor,
// trainer, net, context.
class Classifier
{
  public:
    Classifier()
    {
        cvy_context_options options = {};
        options.threads = 1; // a net this small has no work for two
        check(cvy_context_create(&options, context_.out()));
        check(cvy_net_create(context_, net_.out()));

        cvy_linear_desc hidden = {}, out = {};
        hidden.out_features = 8;
        out.out_features = 2;
        cvy_tensor x = cvy_input(net_, 2, 1, 1);
        x = cvy_linear(net_, x, "hidden", &hidden);
        x = cvy_batch_norm(net_, x, "bn", nullptr);
        x = cvy_relu(net_, x);
        x = cvy_linear(net_, x, "out", &out);

        cvy_trainer_options training = {};
        training.batch = 4;
        training.sgd.lr = 0.5;
        check(cvy_trainer_create(net_, x, &training, trainer_.out()));
        // Shares the trainer's weights.
        check(cvy_predictor_create(net_, x, 4, nullptr, trainer_, predictor_.out()));
    }

    double step(const std::vector<float> &points, const std::vector<uint8_t> &labels)
    {
        cvy_batch batch = batch_of(points);
        batch.labels8 = labels.data();
        cvy_step_result result = {};
        check(cvy_trainer_step(trainer_, &batch, &result));
        return result.loss_sum / static_cast<double>(result.n);
    }

    std::vector<int> classes(const std::vector<float> &points)
    {
        const cvy_batch batch = batch_of(points);
        std::vector<float> logits(points.size()); // as many classes as coordinates: two
        check(cvy_predictor_run(predictor_, &batch, logits.data()));
        std::vector<int> answer;
        for (size_t i = 0; i < logits.size(); i += 2) answer.push_back(logits[i + 1] > logits[i]);
        return answer;
    }

  private:
    static cvy_batch batch_of(const std::vector<float> &points)
    {
        cvy_batch batch = {};
        batch.images = points.data(); // borrowed for the call
        batch.dtype = CVY_F32;
        batch.n = points.size() / 2;
        return batch;
    }

    void check(cvy_status status) const
    {
        if (status != CVY_OK) throw std::runtime_error(cvy_message(context_));
    }

    Context context_;
    Net net_;
    Trainer trainer_;
    Predictor predictor_;
};

} // namespace

int main()
{
    try {
        const std::vector<float> points = { 0, 0, 0, 1, 1, 0, 1, 1 };
        const std::vector<uint8_t> exclusive_or = { 0, 1, 1, 0 };
        Classifier classifier;
        double first = classifier.step(points, exclusive_or), last = first;
        for (int i = 1; i < 200; i++) last = classifier.step(points, exclusive_or);
        std::printf("loss %.4f, after 200 steps %.4f\n", first, last);
        std::printf("0 0, 0 1, 1 0, 1 1:");
        for (int answer : classifier.classes(points)) std::printf(" %d", answer);
        std::printf("\n");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "handles: %s\n", error.what());
        return 1;
    }
    return 0;
}
