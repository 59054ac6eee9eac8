"""The rows of a job as a grid of seeds and temperatures.

Row numbers are arithmetic, (seed x temperatures + temperature) x samples + sample, so a cell of the grid is a range of
rows, and nothing is searched. Where the number of rows shows that some seeds have temperatures of their own, there is
no grid. Seeds may have more and fewer of them that add up to the same number of rows: then a range has texts of two
seeds, and there is no grid either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charrnn.jobs.client import Client
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.row import Row

SHOWN_CELLS = 40  # of a page: one of a hundred temperatures would take seconds
SHOWN_SAMPLES = 3  # of a cell
NEAR = 2_000  # rows; what lies between two cells is read if it is fewer, since each read begins at the start of a part


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The rows of a job in which every seed has the same temperatures and samples."""

    seeds: int
    temperatures: Sequence[float]
    samples: int

    def first(self, seed: int, temperature: int) -> int:
        """Return the number of the first row of a cell."""
        return (seed * len(self.temperatures) + temperature) * self.samples


def grid_of(spec: GenerateSpec) -> Grid | None:
    """Return a job's grid, or None if the number of rows shows that some seeds have options of their own."""
    sampling = spec.sampling
    grid = Grid(seeds=spec.num_seeds, temperatures=sampling.temperatures, samples=sampling.samples)
    return grid if grid.first(grid.seeds, 0) == spec.rows else None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Some texts of one seed at one temperature."""

    temperature: float
    index: int  # of the temperature
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """The cells of one seed. `seed` is None while none of its rows is done."""

    index: int
    seed: str | None
    cells: Sequence[Cell]


def read_grid(client: Client, job: int, grid: Grid, seeds: Sequence[int]) -> list[GridRow] | None:
    """Return some seeds of a grid, with the first texts of each cell that are done. Return None if it is no grid."""
    samples = min(SHOWN_SAMPLES, grid.samples)
    temperatures = range(min(len(grid.temperatures), SHOWN_CELLS))
    starts = [grid.first(seed, temperature) for seed in seeds for temperature in temperatures]
    rows = {row.row: row for row in _read(client, job, starts, samples)}

    def cell(seed: int, index: int) -> Cell:
        start = grid.first(seed, index)
        done = [rows[number] for number in range(start, start + samples) if number in rows]
        temperature = done[0].temperature if done else grid.temperatures[index]  # a seed may have as many of its own
        return Cell(temperature=temperature, index=index, rows=done)

    made = []
    for seed in seeds:
        cells = [cell(seed, index) for index in temperatures]
        known = {(row.id, row.seed) for each in cells for row in each.rows}
        if len(known) > 1:
            return None
        made.append(GridRow(index=seed, seed=next((text for _, text in known), None), cells=cells))
    return made


def _read(client: Client, job: int, starts: Sequence[int], samples: int) -> Iterator[Row]:
    """Yield the rows of some cells, with what lies between cells that are near each other."""
    ranges: list[tuple[int, int]] = []
    for start in starts:
        if ranges and start - ranges[-1][1] <= NEAR:
            ranges[-1] = (ranges[-1][0], start + samples)
        else:
            ranges.append((start, start + samples))
    wanted = {start + sample for start in starts for sample in range(samples)}
    for begin, end in ranges:
        for line in client.results(job, rows=(begin, end)):
            row = _number(line)
            if row in wanted:
                yield Row.from_line(line)


def _number(line: bytes) -> int:
    """Return the number of a row, with which its line begins: {"row": 7, ..."""
    return int(line[8 : line.index(b",")])
