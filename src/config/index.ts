export { planFromFlat, parseDuration } from './flat.js';
export { loadConfiguration } from './load.js';
