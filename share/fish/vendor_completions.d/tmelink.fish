# fish loads this file when somebody presses Tab after `tmelink`. The program itself knows what may follow.
tmelink completion fish | source
