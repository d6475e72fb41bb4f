#!/usr/bin/env node
// The build replaces this import by the bundle of the same module.
import './cli/main.js';
