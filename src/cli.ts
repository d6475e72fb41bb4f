#!/usr/bin/env node
import { endWithReader, fail } from './cli/output.js';
import { programFor } from './cli/program.js';

endWithReader();
const program = await programFor(process.argv[2]);
program.parseAsync().catch(fail);
