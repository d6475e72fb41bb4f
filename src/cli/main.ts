/** The command line, as `highwater` runs it. */
import { endWithReader, fail } from './output.js';
import { programFor } from './program.js';

endWithReader();
const program = await programFor(process.argv.slice(2));
program.parseAsync().catch(fail);
