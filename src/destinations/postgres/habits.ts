import type { ColumnType, TableSpec } from '../../protocol.js';

/** What earlier batches of a table have shown; a wrong guess costs time, nothing else. */
export class Habits {
  private readonly tables = new Map<string, TableHabits>();

  of({ schema, table }: Pick<TableSpec, 'schema' | 'table'>): TableHabits {
    const name = JSON.stringify([schema, table]);
    const known = this.tables.get(name);
    if (known !== undefined) return known;
    const made = new TableHabits();
    this.tables.set(name, made);
    return made;
  }
}

/** Most batches in a row for which a guess that was wrong is not made again. */
const LONGEST_DOUBT = 64;

export class TableHabits {
  /** Columns with values whose spelling only PostgreSQL knows to convert, by the types that they had then. */
  private readonly textColumns = new Map<string, ColumnType>();
  private doubt = 0;
  private doubted = 0;

  /** Whether PostgreSQL is to convert the values of a column. A column may have got another type since. */
  isSentAsText(column: string, type: ColumnType): boolean {
    return this.textColumns.get(column) === type;
  }

  sendAsText(column: string, type: ColumnType): void {
    this.textColumns.set(column, type);
  }

  /** Whether to try what fails where a batch has a row of the table. Says no for a while after each failure. */
  mayTrustSamples(): boolean {
    if (this.doubted === 0) return true;
    this.doubted--;
    return false;
  }

  /** Takes note that a batch which seemed to be new was not. */
  doubtSamples(): void {
    this.doubt = Math.min(LONGEST_DOUBT, this.doubt === 0 ? 4 : this.doubt * 2);
    this.doubted = this.doubt;
  }
}
