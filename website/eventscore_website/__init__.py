"""docs/ as a site: the pages, the reference that is written from the code, and what the generator of the site wants to know.

`python -m eventscore_website build` writes build/docs, the pages as the site has them, and build/zensical.toml. Zensical makes
build/site of these. The way through the modules: `pages` puts the folder together, `links` turns links that leave docs/ into pages of
the site, `needs` shows what a block of commands needs, `dialect` mends what the
generator reads otherwise than a git host, `navigation` sees to it that every page can be found. The other
modules write a page of the reference each, and say which words they miss: `command_reference`,
`key_reference` (contract and training), `setting_reference`, `metric_reference`, `reason_reference`, `stack_reference`.
"""
