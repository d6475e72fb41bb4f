const SECONDS_PER: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

/** "90s", "15m", "2h", "1d" → seconds; null for anything else. */
export function parseDuration(text: string): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$/.exec(text);
  if (match === null) return null;
  return Number(match[1]) * (SECONDS_PER[match[2] ?? ''] ?? NaN);
}

/** 5400 → "1.5h": the largest unit that leaves no more than two decimals. */
export function durationText(seconds: number): string {
  for (const unit of ['d', 'h', 'm']) {
    const amount = seconds / (SECONDS_PER[unit] ?? 1);
    if (amount >= 1 && Number.isInteger(Math.round(amount * 1e6) / 1e4)) return `${amount}${unit}`;
  }
  return `${Math.round(seconds * 1000) / 1000}s`;
}
