"""The rules that an auditor would ask for, judged over the evaluated program and by Pulumi's own policy engine."""
