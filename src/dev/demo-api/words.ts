/**
 * The words that demo records are made of. Some are not ASCII, with up to four bytes per character, and some need
 * escaping in JSON, so that clients that decode by chunks or parse by hand soon meet both.
 */

/** A name as displayed and as used in an email address. */
export type Name = readonly [shown: string, plain: string];

const names = (text: string): readonly Name[] =>
  text.split(' ').map((word): Name => {
    const [shown = word, plain = shown.toLowerCase()] = word.split('|');
    return [shown, plain];
  });

export const FIRST_NAMES = names(
  'Amelia Andrew Anna Brian Carlos Chloé|chloe Cynthia Daniel David Deborah Diana Edward Elena Emily Eric Fatima ' +
    'Frank Gabriel George Grace Hannah Henry Ingrid Isaac Jack James Jared Jennifer Jessica John Jonathan José|jose ' +
    'Julia Karen Kevin Laura Linda Łukasz|lukasz Marcus Maria Mark Matthew Megan Michael Natalie Nicole Noah Olivia ' +
    'Patrick Paul Peter Rachel Rebecca Robert Ryan Sarah Scott Sofia Søren|soren Stephen Susan Teresa Thomas Zoë|zoe',
);

export const LAST_NAMES = names(
  'Anderson Bailey Baker Barnes Bell Bennett Brooks Brown Butler Campbell Carter Castillo Clark Cook Cooper Davis ' +
    'Diaz Edwards Evans Fernández|fernandez Fisher Foster Garcia Gray Green Hall Harris Hernandez Hill Howard Hughes ' +
    'Jackson Jenkins Johnson Jones Kelly King Kowalski Lee Lewis Long Lopez Martin Miller Mitchell Moore Morgan ' +
    "Morris Müller|mueller Murphy Nguyễn|nguyen O'Neill|oneill Parker Perez Phillips Powell Price Reed Rivera " +
    'Roberts Sanchez Smith Taylor Watson',
);

export const DOMAINS = ['example.com', 'example.net', 'example.org'];

export const STREETS = [
  'Ashford Avenue',
  'Barton Bridge',
  'Cedar Crossing',
  'Chestnut Street',
  'Cliffside Drive',
  'Cross Roads Lane',
  'Dogwood Court',
  'Elm Extension',
  'Fountain Square',
  'Garden Terrace',
  'Harbour View Road',
  'Henry Overpass',
  'Jasmine Hill',
  'Kings Highway',
  'Lakeshore Boulevard',
  'Maple Heights',
  'Mill Stream Road',
  'Northern Parkway',
  'Oak Hollow',
  'Old Station Road',
  'Orchard Path',
  'Paseo de la Señora',
  'Pine Ridge',
  'Quarry Lane',
  'River Bend',
  'Rue Saint-Honoré',
  'Spring Meadow',
  'Straße der Einheit',
  'Summit Avenue',
  'Union Square',
  'Valley Forge Road',
  'Willow Creek Drive',
];

export const UNITS = ['', '', '', '', ' Apt. 12', ' Apt. 904', ' Suite 300', ' Suite 615'];

export const CITIES = [
  'Andersonville',
  'Brookhaven',
  'Christophermouth',
  'Dylanborough',
  'East Hannahport',
  'Evanburgh',
  'Fort Gregory',
  'Hicksfort',
  'Jonesbury',
  'Kimberlyland',
  'Lake Samuel',
  'Lewischester',
  'Michaelview',
  'New Larry',
  'New Teresa',
  'North Christopherhaven',
  'North Susan',
  'Port Danielle',
  'Québec-sur-Mer',
  'Reedstad',
  'Rodriguezside',
  'Saint Élodie',
  'Smithton',
  'South Dylan',
  'South Michaelville',
  'Stephaniefurt',
  'Tanyaberg',
  'Thomasshire',
  'West Alexandra',
  'West Nathaniel',
  'Williamstown',
  '大阪',
];

export const STATES =
  'AK AZ CA CO DC DE FL GA HI IA IL KS KY LA MA ME MI MN MT NC NE NJ NM NV NY OH OK OR PA TX'
    .split(' ')
    .concat(['VA', 'WA']);

export const COMPANIES = [
  'Bell and Sons',
  'Blue Harbour 🌊 Shipping',
  'Butler-Hart',
  'Campbell Group',
  'Carter, Hughes and Long',
  'Clark Inc',
  'Cooper-Diaz',
  'Davis, Reed and Rivera',
  'Evans Ltd',
  'Fisher PLC',
  'Glover Group',
  'Gómez e Hijos',
  'Harris LLC',
  'Hudson, Perez and Blair',
  'Jenkins Ltd',
  'Krause, Stone and Brown',
  'Lin-Campbell',
  'Martin and Sons',
  'Meyers-Hayes',
  'Mitchell "Mitch" & Co',
  'Morgan Inc',
  'Morris, Gray and Kelly',
  'Nordström AB',
  'Parker-Hall',
  'Phillips Group',
  'Powell LLC',
  'Price, Foster and King',
  'Roberts PLC',
  'Schwartz, Jackson and Mendoza',
  'Thomas-Lee',
  'West, Tyler and Salazar',
  'Williams-Estes',
];

export const JOBS = [
  'Accommodation manager',
  'Adult nurse',
  'Air traffic controller',
  'Archaeologist',
  'Architect',
  'Chartered accountant',
  'Civil engineer, consulting',
  'Commercial horticulturist',
  'Conservator, furniture',
  'Dancer',
  'Data scientist',
  'Doctor, general practice',
  'Ecologist',
  'Editor, magazine features',
  'Electrical engineer',
  'Engineer, land',
  'Environmental consultant',
  'Forest/woodland manager',
  'Geochemist',
  'Hydrologist',
  'Illustrator',
  'Lawyer',
  'Make-up artist',
  'Materials engineer',
  'Product/process development scientist',
  'Proofreader',
  'Psychologist, sport and exercise',
  'Publishing copy',
  'Régisseur',
  'Sports therapist',
  'Surveyor, hydrographic',
  'Teacher, early years/pre',
];
