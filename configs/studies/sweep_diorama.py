"""Learning rate, weight decay and depth of the plain baseline on Diorama, searched for the best depth."""

sweep = dict(
    title='Plain baseline on Diorama: learning rate, weight decay, blocks',
    config='../baselines/r18_diorama.py',
    metric='depth/RMSE',
    trials=20,
    options={'max_iters': 400, 'size': (64, 64), 'train_dataloader.dataset.length': 3000},
    space={
        'optim_wrapper.optimizer.lr': dict(type='float', low=1e-4, high=1e-2, log=True),
        'optim_wrapper.optimizer.weight_decay': dict(type='choice', values=[0.0, 1e-4, 1e-2]),
        'model.decoder.num_blocks': dict(type='int', low=1, high=4),
    },
)
