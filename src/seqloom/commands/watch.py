"""`watch`: follows runs while they work, in the terminal and on a page. Free of torch.

It only reads, so it may be started and ended at any time, also before the first run, and as often
as one likes. Ctrl-C ends it, with exit code 0: a viewer that is closed has done its work.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from seqloom.commands.watch_page import PageServer
from seqloom.errors import ConfigError
from seqloom.runs import short_name
from seqloom.sweeps.table import LiveTable
from seqloom.sweeps.watched import View, Watched
from seqloom.tracking.watch import page_state, render_page


def watch(
    runs: Path, port: int, terminal: bool, page: bool, every_s: float, until_done: bool
) -> int:
    """Follows the sweep, the run or the runs in `runs`, which need not be there yet.

    Args:
        port: of the page; 0 takes a free one. The address is printed.
        terminal, page: where to show them.
        every_s: seconds between two looks.
        until_done: end when nothing runs any more; else only Ctrl-C ends it.

    Returns 0, also for Ctrl-C. Raises ConfigError where there is nothing to show it on, `runs` is a
    file, or the port is taken.
    """
    if not (terminal or page):
        raise ConfigError("terminal=false page=false", "nothing would be shown", "leave one out")
    if runs.exists() and not runs.is_dir():
        raise ConfigError(f"runs={runs}", "it is not a folder", "name one that holds runs")
    watched = Watched(runs)
    try:
        with ExitStack() as stack:
            server = stack.enter_context(_served(runs, port, every_s)) if page else None
            table = stack.enter_context(LiveTable()) if terminal else None
            _follow(watched, server, table, every_s, until_done)
    except KeyboardInterrupt:
        pass
    return 0


def _served(runs: Path, port: int, every_s: float) -> PageServer:
    server = PageServer(render_page(short_name(runs), every_s), runs, port)
    server.publish(page_state(View(None, [], is_over=False), {}, runs), [])
    print(f"page      {server.address}   (Ctrl-C ends watching, not the runs)", flush=True)
    return server


def _follow(
    watched: Watched,
    server: PageServer | None,
    table: LiveTable | None,
    every_s: float,
    until_done: bool,
) -> None:
    has_waited = False
    while True:
        view = watched.look()
        if view.record is None:
            if not has_waited:
                kind = "no run in" if watched.root.is_dir() else "no folder"
                print(f"waiting   there is {kind} {watched.root} yet", flush=True)
            has_waited = True
        elif table is not None:
            table.draw(view.record, view.standings)
        if server is not None and (server.is_asked or view.is_over):
            _publish(watched, view, server)
        if until_done and view.is_over:
            if server is not None and server.is_asked:
                time.sleep(2 * every_s)  # Whoever looks sees the end.
            return
        time.sleep(every_s)


def _publish(watched: Watched, view: View, server: PageServer) -> None:
    state = page_state(view, watched.curves(view), watched.root)
    server.publish(state, [standing.job.folder for standing in view.standings])
