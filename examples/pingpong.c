/*
 * Two channels: one fiber serves, the other returns, and each waits for the
 * other's ball. Shows how values pass by copy through a channel that keeps
 * none (capacity 0), and how closing one ends the game: the receiver gets
 * -EPIPE once there is nothing left.
 */
#include <errno.h>
#include <stdio.h>

#include <weft.h>

enum { ROUNDS = 100000 };

struct table {
    weft_chan_t *ping;
    weft_chan_t *pong;
};

/* Adds one to each ball and sends it back, until there are no more. */
static void *player(void *arg)
{
    struct table *table = arg;
    int ball;

    while (weft_chan_recv(table->ping, &ball) == 0) {
        ball++;
        if (weft_chan_send(table->pong, &ball) != 0)
            break;
    }
    weft_chan_close(table->pong);
    return NULL;
}

static int play(struct table *table)
{
    weft_fiber_t other;
    int ball = 0;
    int status = weft_spawn(&other, player, table);

    if (status != 0)
        return status;
    for (int i = 0; i < ROUNDS && status == 0; i++) {
        status = weft_chan_send(table->ping, &ball);
        if (status == 0)
            status = weft_chan_recv(table->pong, &ball);
    }
    printf("the ball went round %d times\n", ball);

    weft_chan_close(table->ping);
    if (weft_chan_recv(table->pong, &ball) == -EPIPE)
        printf("the other player has left\n");
    weft_join(other, NULL);
    return status;
}

static int entry(void *arg)
{
    struct table table = { NULL, NULL };
    int status = weft_chan_create(&table.ping, sizeof(int), 0);

    (void)arg;
    if (status == 0)
        status = weft_chan_create(&table.pong, sizeof(int), 0);
    if (status == 0)
        status = play(&table);
    weft_chan_unref(table.pong);
    weft_chan_unref(table.ping);
    return status;
}

int main(void)
{
    int result = 0;
    int status = weft_run(NULL, entry, NULL, &result);

    if (status == 0)
        status = result;
    if (status != 0)
        fprintf(stderr, "pingpong: %s\n", weft_strerror(status));
    return status == 0 ? 0 : 1;
}
