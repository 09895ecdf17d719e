-- Two parts of one size are merged as soon as there is time for it, not only four: a query looks into every part.
INSERT INTO search_terms (search_terms, rank) VALUES ('usermerge', 2);
