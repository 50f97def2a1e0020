"""application.py NAME: an application that calls Anthropic's SDK as often as it is told, while the package meters it.

It says of each call that has returned whether the kernel has its event, which is what the package promises while an
agent runs. The crash storm kills it, and knows what each call has to be billed as from its name and number.
"""

import sys

import anthropic

import revenium_middleware_anthropic as package

name = sys.argv[1]
client = anthropic.Anthropic(max_retries=0)
# Events that the kernel never had, and those in files, when nothing was left in memory.
never_sent = spooled = 0


def say(what):
    print("application:", what, flush=True)


def call(n):
    message = {"role": "user", "content": "%s-%d" % (name, n)}
    is_streamed = n % 2 == 1
    answer = client.messages.create(model="claude-opus-4", max_tokens=64, messages=[message], stream=is_streamed)
    if is_streamed:
        for _ in answer:
            pass
    stats = package.stats()
    if stats["lost"]:
        sys.exit("lost: %s" % stats)
    return stats["emitted"] - stats["sent"] == never_sent


def flush():
    """How many events are in memory still, and how many went to files since the last time."""
    global never_sent, spooled
    is_empty = package.flush(60)
    stats = package.stats()
    if is_empty:
        never_sent = stats["emitted"] - stats["sent"]
    since, spooled = stats["spooled"] - spooled, stats["spooled"]
    return stats["in_memory"], since


def main():
    for line in sys.stdin:
        order, *numbers = line.split()
        if order == "emit":
            for n in range(*map(int, numbers)):
                say("%s %d" % ("sent" if call(n) else "queued", n))
            say("emitted")
        elif order == "durable":
            call(int(numbers[0]))
            in_memory, in_files = flush()
            if in_memory:
                sys.exit("not flushed: %s" % package.stats())
            say("spooled" if in_files else "durable")
        elif order == "flush":
            say("flushed %d %d" % flush())


main()
