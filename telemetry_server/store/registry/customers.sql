-- name: customers_by_id
SELECT * FROM customers WHERE customer_id = ANY ($1::uuid[]);

-- name: customers_by_email
-- The e-mails are in lower case, their canonical form.
SELECT * FROM customers WHERE lower(email) = ANY ($1::text[]);

-- name: customers_by_account
SELECT * FROM customers WHERE account = ANY ($1::text[]);

-- name: customers_listed
-- In the order of their creation.
SELECT c.*
FROM customers AS c
WHERE c.customer_id > $1 AND TRUE /*:filter*/
ORDER BY c.customer_id
LIMIT $2;

-- name: add_customers
INSERT INTO customers (
    customer_id, email, name, company, tax_id, technical_contact, account, custom, created_at, updated_at
)
SELECT customer_id, email, name, company, tax_id, technical_contact, account, custom, $2, $2
FROM jsonb_populate_recordset(NULL::customers, $1::jsonb);

-- name: change_customers
UPDATE customers AS c SET
    email             = n.email,
    name              = n.name,
    company           = n.company,
    tax_id            = n.tax_id,
    technical_contact = n.technical_contact,
    account           = n.account,
    custom            = n.custom,
    updated_at        = $2
FROM jsonb_populate_recordset(NULL::customers, $1::jsonb) AS n
WHERE c.customer_id = n.customer_id;
