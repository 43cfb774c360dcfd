package main

import (
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
)

// maxCompletions bounds what a shell is offered.
const maxCompletions = 1000

// completeVolume offers the volumes of the store, then files.
func (a *app) completeVolume(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	err := a.withView(0, func(v *recovery.Viewed) error {
		for vol, err := range v.Snapshot().Volumes() {
			if err != nil || len(names) == maxCompletions {
				return err
			}
			if !hidden(vol.Attrs.Name) {
				names = append(names, vol.Attrs.Name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeTwoVolumes completes two arguments, both volumes.
func (a *app) completeTwoVolumes(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		args = nil
	}
	return a.completeOnlyVolume(c, args, word)
}

// completeOnlyVolume offers the volumes of the store, then nothing.
func (a *app) completeOnlyVolume(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeVolume(c, args, word)
}
