"""The search for the worst input of a build."""
