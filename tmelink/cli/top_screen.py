"""The screen of `tmelink top`, in Textual."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from tmelink.cli import status as status_command
from tmelink.cli import top_table
from tmelink.control import ControlError


class TopScreen(App[None]):
    """A table of elements, or one element's details; `look` asks the lab every `interval` seconds."""

    CSS = "#head { height: 1; background: $boost; } #one { display: none; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort by the next column"),
        Binding("r", "reverse", "reverse"),
        Binding("p", "pause", "pause"),
        Binding("escape", "all", "back"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, look: top_table.Look, interval: float) -> None:
        super().__init__()
        self._look = look
        self._interval = interval
        self._column = 0
        self._reverse = False
        self._paused = False
        self._element: str | None = None

    def compose(self) -> ComposeResult:
        """One line about the lab, the table or one element's details, and the keys."""
        yield Static(id="head")
        yield DataTable(cursor_type="row")
        yield Static(id="one")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(DataTable).add_columns(*top_table.HEADS)
        self.look()
        self.set_interval(self._interval, self.look)

    def look(self) -> None:
        """Ask the lab and show what it says."""
        if self._paused:
            return
        try:
            status = self._look(self._element)
        except ControlError as error:
            self.exit(return_code=1, message=str(error))
            return
        up = f"{status['up']} of {status['total']} up"
        order = f"sorted by {top_table.HEADS[self._column] or 'details'}"
        self.query_one("#head", Static).update(f"{status['name']}: {status['file']}, {up}, {order}")
        if self._element is not None:
            self.query_one("#one", Static).update("\n".join(status_command.lines(status, whole=True)))
            return
        table = self.query_one(DataTable)
        cursor = table.cursor_row
        table.clear()
        for row in sorted(top_table.rows(status), key=lambda row: row[self._column], reverse=self._reverse):
            table.add_row(*top_table.shown(row), key=row[0])
        table.move_cursor(row=cursor)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show one element alone."""
        self._show(event.row_key.value)

    def action_all(self) -> None:
        """Show all elements again."""
        self._show(None)

    def _show(self, element: str | None) -> None:
        self._element = element
        self.query_one(DataTable).display = element is None
        self.query_one("#one", Static).display = element is not None
        self.look()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._column = (self._column + 1) % len(top_table.HEADS)
        # Of numbers the largest are of interest.
        self._reverse = self._column >= 4
        self.look()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._reverse = not self._reverse
        self.look()

    def action_pause(self) -> None:
        """Stop looking, or go on."""
        self._paused = not self._paused
