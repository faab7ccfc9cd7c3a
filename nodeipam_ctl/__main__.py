"""What does `python -m nodeipam_ctl` do? The same as the command `nodeipam-ctl`."""

from nodeipam_ctl.cli.main import main

main()
