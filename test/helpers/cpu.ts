/** Starts to count; returns how many milliseconds of CPU this process has used since, whatever else the machine does. */
export function startCpuTimer(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
}
