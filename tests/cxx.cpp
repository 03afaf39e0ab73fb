// Exceptions on fibers, for cxx.sh: each fiber has its own in flight, also
// when it changes workers inside a catch block or a destructor.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/weft.h>

namespace {

int failures;

void expect(bool holds, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "%s\n", what);
        __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
}

struct yielding {
    int in_flight;

    // Other fibers throw and catch meanwhile.
    ~yielding()
    {
        expect(std::uncaught_exceptions() == in_flight,
               "in a destructor: another's exceptions");
        for (int i = 0; i < 3; i++)
            weft_yield();
        expect(std::uncaught_exceptions() == in_flight,
               "in a destructor, after a switch: another's exceptions");
    }
};

[[noreturn]] void throw_from_below(int depth, const std::string &what)
{
    yielding guard{ 1 };

    if (depth == 0)
        throw std::runtime_error(what);
    throw_from_below(depth - 1, what);
}

void catch_and_yield(int me, int round)
{
    std::string mine = std::to_string(me) + "/" + std::to_string(round);

    try {
        try {
            throw_from_below(3, mine);
        } catch (const std::runtime_error &e) {
            expect(e.what() == mine, "another's exception was caught");
            for (int i = 0; i < 3; i++)
                weft_yield();
            expect(e.what() == mine, "the exception has changed");
            // One inside the handler of another.
            try {
                throw me;
            } catch (int n) {
                weft_yield();
                expect(n == me, "another's inner exception");
            }
            throw; // the one that is being handled: this fiber's
        }
    } catch (const std::exception &e) {
        weft_yield();
        expect(e.what() == mine, "another's exception was thrown again");
        expect(std::current_exception() != nullptr, "no current exception");
    }
    expect(std::uncaught_exceptions() == 0, "an exception is left");
    expect(std::current_exception() == nullptr, "one is still handled");
}

void *thrower(void *arg)
{
    int me = static_cast<int>(reinterpret_cast<intptr_t>(arg));

    for (int round = 0; round < 50; round++)
        catch_and_yield(me, round);
    return arg;
}

// A channel between two fibers that are both in a handler: they park there.
struct pair {
    weft_chan_t *ch;
    int value;
};

void *send_from_a_handler(void *arg)
{
    pair *p = static_cast<pair *>(arg);

    try {
        throw std::logic_error("sender");
    } catch (const std::logic_error &e) {
        for (int i = 0; i < 100; i++)
            expect(weft_chan_send(p->ch, &i) == 0, "send");
        expect(e.what() == std::string("sender"), "the sender's exception");
    }
    return nullptr;
}

void *receive_in_a_handler(void *arg)
{
    pair *p = static_cast<pair *>(arg);

    try {
        throw std::domain_error("receiver");
    } catch (const std::domain_error &e) {
        for (int i = 0; i < 100; i++) {
            int value = -1;

            expect(weft_chan_recv(p->ch, &value) == 0 && value == i, "recv");
        }
        expect(e.what() == std::string("receiver"),
               "the receiver's exception");
    }
    return nullptr;
}

int run(void *)
{
    std::vector<weft_fiber_t> fibers(40);
    pair p{};

    for (size_t i = 0; i < fibers.size(); i++)
        expect(weft_spawn(&fibers[i], thrower,
                          reinterpret_cast<void *>(i)) == 0,
               "spawn");
    for (weft_fiber_t f : fibers)
        expect(weft_join(f, nullptr) == 0, "join");

    expect(weft_chan_create(&p.ch, sizeof(int), 0) == 0, "chan");
    fibers.resize(2);
    expect(weft_spawn(&fibers[0], send_from_a_handler, &p) == 0, "spawn");
    expect(weft_spawn(&fibers[1], receive_in_a_handler, &p) == 0, "spawn");
    for (weft_fiber_t f : fibers)
        expect(weft_join(f, nullptr) == 0, "join");
    weft_chan_unref(p.ch);
    return 0;
}

} // namespace

int main()
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int result = 1;

    // The unwinder takes its room from the fiber's stack.
    config.stack_size = 256 << 10;
    expect(weft_run(&config, run, nullptr, &result) == 0 && result == 0,
           "weft_run");
    if (failures == 0)
        std::puts("each fiber had its own exceptions");
    return failures == 0 ? 0 : 1;
}
