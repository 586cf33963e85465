CREATE TABLE mail_domain (domain_id INTEGER PRIMARY KEY, domain VARCHAR(255), active CHAR(1));
CREATE TABLE mail_forwarding (forwarding_id INTEGER PRIMARY KEY, server_id INTEGER, source VARCHAR(255), destination TEXT, type VARCHAR(20), active CHAR(1));
INSERT INTO mail_domain VALUES (1, 'x.example', 'y'), (2, 'off.example', 'n'), (3, 'empty.example', 'y'), (4, 'also.example', 'y');
INSERT INTO mail_forwarding VALUES (1, 1, 'ann@x.example', 'a@t.example
b@t.example', 'forward', 'y'), (2, 1, 'box@x.example', 'box@x.example', 'alias', 'y');
INSERT INTO mail_forwarding VALUES (3, 1, 'both@x.example', 'both@x.example
c@t.example', 'forward', 'y'), (4, 1, 'gone@x.example', 'a@t.example', 'forward', 'n');
INSERT INTO mail_forwarding VALUES (5, 1, '@x.example', 'all@t.example', 'catchall', 'y'), (6, 1, '@also.example', '@x.example', 'aliasdomain', 'y');
INSERT INTO mail_forwarding VALUES (7, 1, 'bad@x.example', NULL, 'forward', 'y');
