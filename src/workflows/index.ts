export { sync } from './sync.js';
