"""One site's post office: spool, alias expander, queue, MTA client and server, mailboxes."""
