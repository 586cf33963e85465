-- 1: the queue. Times are milliseconds since 1970 by the clock of the database; `to_timestamp(due / 1000.0)` shows one.

CREATE TABLE messages (
    id           uuid     PRIMARY KEY,
    arrived      bigint   NOT NULL,
    reverse_path text,                -- as it came in; none: the null sender
    origin       smallint NOT NULL,
    peer         text,
    user_name    text,
    trace        text     NOT NULL,
    size         bigint   NOT NULL,
    eight_bit    boolean  NOT NULL,
    smtputf8     boolean  NOT NULL,
    ret          text,
    envid        text,
    crc          bigint,
    body         bytea                -- none: it is in `bodies`
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 20000,
        toast.autovacuum_vacuum_cost_delay = 0);

-- Mail does not get much smaller, and a signature is over its bytes: nothing is gained by compressing it.
ALTER TABLE messages ALTER body SET STORAGE EXTERNAL;

-- The bodies of large messages, in pieces as they came in.
CREATE TABLE bodies (
    message uuid    NOT NULL,
    piece   integer NOT NULL,
    crc     bigint  NOT NULL,
    octets  bytea   NOT NULL,
    PRIMARY KEY (message, piece)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 20000,
        toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE bodies ALTER octets SET STORAGE EXTERNAL;

-- Messages of which only pieces are there yet: what to clear away if their node dies.
CREATE TABLE drafts (
    message uuid   PRIMARY KEY,
    run     bigint NOT NULL,
    begun   bigint NOT NULL
);

CREATE TABLE legs (
    message      uuid    NOT NULL,
    number       integer NOT NULL,
    destination  text    COLLATE "C" NOT NULL,
    reverse_path text,
    target       text    NOT NULL,
    recipient    text    NOT NULL,
    original     text,
    notify       smallint,
    trace        text    NOT NULL,
    options      text    NOT NULL,
    merged       text[]  NOT NULL,
    merged_more  bigint  NOT NULL,
    warn_at      bigint  NOT NULL,
    expire_at    bigint  NOT NULL,
    due          bigint  NOT NULL,
    attempts     integer NOT NULL,
    warned       boolean NOT NULL,
    held         boolean NOT NULL,
    bounced      boolean NOT NULL,
    last         jsonb,
    owner        bigint,              -- who works on it: the run of a node
    token        bigint  NOT NULL,    -- grows with each claim: who has an older one is refused
    lease_end    bigint,
    -- When it may be claimed next: when it is due, and no lease is on it.
    ready_at     bigint  GENERATED ALWAYS AS (
        CASE WHEN owner IS NOT NULL THEN greatest(lease_end, due) WHEN held OR bounced THEN NULL ELSE due END) STORED,
    -- When its sender must be told something next.
    tell_at      bigint  GENERATED ALWAYS AS (
        CASE WHEN held THEN NULL WHEN bounced THEN 0 WHEN warned THEN expire_at ELSE warn_at END) STORED,
    PRIMARY KEY (message, number)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 5000);

-- A claim: the legs of one destination in the order in which they are due. Also which destinations there are, and their listing.
CREATE INDEX legs_ready ON legs (destination, ready_at, message, number);
-- Whose sender is to be told.
CREATE INDEX legs_tell ON legs (tell_at) WHERE tell_at IS NOT NULL;
-- The legs of a node that died.
CREATE INDEX legs_owner ON legs (owner) WHERE owner IS NOT NULL;

CREATE TABLE tokens (
    name    text   PRIMARY KEY,
    value   text   NOT NULL,
    expires bigint NOT NULL
);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE nodes (
    name      text    PRIMARY KEY,
    run       bigint  NOT NULL,       -- drawn anew at each start; 0: it is gone, or was given up
    heartbeat bigint  NOT NULL,
    since     bigint  NOT NULL,
    draining  boolean NOT NULL DEFAULT false,
    version   text    NOT NULL
);
