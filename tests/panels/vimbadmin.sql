CREATE TABLE domain (id INTEGER PRIMARY KEY, domain VARCHAR(255), active SMALLINT NOT NULL);
CREATE TABLE alias (id INTEGER PRIMARY KEY, Domain_id INTEGER, address VARCHAR(255), goto TEXT, active SMALLINT NOT NULL);
INSERT INTO domain VALUES (1, 'x.example', 1), (2, 'off.example', 0), (3, 'empty.example', 1), (4, 'also.example', 1);
INSERT INTO alias VALUES (1, 1, 'ann@x.example', 'a@t.example,b@t.example', 1), (2, 1, 'box@x.example', 'box@x.example', 1);
INSERT INTO alias VALUES (3, 1, 'both@x.example', 'both@x.example,c@t.example', 1), (4, 1, 'gone@x.example', 'a@t.example', 0);
INSERT INTO alias VALUES (5, 1, '@x.example', 'all@t.example', 1), (6, 2, 'ann@off.example', 'a@t.example', 1);
INSERT INTO alias VALUES (7, 4, '@also.example', '@x.example', 1), (8, 1, 'bad@x.example', 'nonsense', 1);
