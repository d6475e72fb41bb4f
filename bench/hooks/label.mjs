/** Adds a column to each record of the benchmark. */
export default (user) => ({ ...user, label: `${user.name} (${user.job})` });
