-- 2: what the nodes tell each other beside the mail.

CREATE TABLE notes (
    kind text   NOT NULL,
    name text   NOT NULL,
    text text,                         -- none: it holds no more
    passing boolean NOT NULL,          -- says nothing any more after a day
    run  bigint NOT NULL,              -- whose node put it up
    at   bigint NOT NULL,
    xact bigint NOT NULL,              -- the transaction that did: who reads on goes on from there
    PRIMARY KEY (kind, name)
);
CREATE INDEX notes_xact ON notes (xact);

-- An operator waits for these: they may be lost, but must be fast.
CREATE UNLOGGED TABLE questions (
    id   bigint PRIMARY KEY,
    run  bigint NOT NULL,
    at   bigint NOT NULL,
    text text   NOT NULL
);
CREATE UNLOGGED TABLE answers (
    question bigint NOT NULL,
    node     text   NOT NULL,
    at       bigint NOT NULL,
    text     text   NOT NULL,
    PRIMARY KEY (question, node)
);

-- Who reads the board, as what works beside the nodes does not. Apart from `nodes`: no node waits for a lock on it.
CREATE TABLE readers (
    name text   PRIMARY KEY,
    run  bigint NOT NULL
);
