"""Where pictures come from: class folders, drawings, tables, shards. Nothing is decoded here."""
