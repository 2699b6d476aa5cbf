"""What protects at run time: guards that read an agent's proposed tool calls and allow, warn or block."""
