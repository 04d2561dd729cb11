// What each connection has carried in the last minutes, from the totals that the lab tells.

const SECONDS = 600;

export class History {
  constructor() {
    this.times = [];
    this.totals = new Map();
  }

  add(status) {
    this.times.push(status.time);
    for (const connection of status.connections) {
      const name = `${connection.from}:${connection.to}`;
      if (!this.totals.has(name)) this.totals.set(name, { sent: [], received: [] });
      const kept = this.totals.get(name);
      for (const way of ["sent", "received"]) {
        while (kept[way].length < this.times.length - 1) kept[way].push(null);
        kept[way].push(connection[way].bytes);
      }
    }
    while (this.times.length > SECONDS) {
      this.times.shift();
      for (const kept of this.totals.values()) { kept.sent.shift(); kept.received.shift(); }
    }
  }

  // Bits a second at each time but the first; null where it is not known.
  rates(name, way) {
    const totals = this.totals.get(name)?.[way] ?? [];
    return this.times.slice(1).map((time, number) => {
      const before = totals[number], after = totals[number + 1];
      if (before == null || after == null || after < before) return null;
      return (8 * (after - before)) / (time - this.times[number]);
    });
  }

  rate(name, way) {
    return this.rates(name, way).at(-1) ?? null;
  }

  series(name) {
    return [this.times.slice(1), this.rates(name, "sent"), this.rates(name, "received")];
  }
}
