SELECT history.watch('fees', key => '{tier}');
