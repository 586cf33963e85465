CREATE TABLE aliases (id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, destination TEXT NOT NULL, permitted_senders TEXT);
INSERT INTO aliases VALUES (1, 'ann@x.example', 'a@t.example,b@t.example', NULL), (2, 'box@x.example', 'box@x.example', NULL);
INSERT INTO aliases VALUES (3, 'both@x.example', 'both@x.example,c@t.example', NULL), (4, '@x.example', 'all@t.example', NULL);
INSERT INTO aliases VALUES (5, '@also.example', '@x.example', NULL), (6, 'bad@x.example', 'nonsense', NULL);
