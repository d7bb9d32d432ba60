-- The numbers of customers that the public page shows.

CREATE TABLE public_figures (
    released_on date    NOT NULL,
    dimension   text    NOT NULL,
    value       text    NOT NULL,
    customers   integer NOT NULL CHECK (customers >= 20),
    drawn_on    date    NOT NULL,
    PRIMARY KEY (released_on, dimension, value)
);
COMMENT ON TABLE public_figures IS
    'A row is a number of customers, perturbed and rounded, as it was published in the week that begins on '
    'released_on. Written once a week by the job "release public figures"; never changed.';
COMMENT ON COLUMN public_figures.drawn_on IS
    'The week in which the number was drawn; until its next turn, it is repeated.';
