"""`semblance serve` under load and under attack, from processes of their own, over loopback only."""
